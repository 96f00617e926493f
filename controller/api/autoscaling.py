"""Autoscaling policies of a service: part of its specification.

Source: docs.snowflake.com, developer-guide/snowpark-container-services/scaling-services.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Model


class TargetScaling(Model):
    target_value: float = Field(description="Instances change in proportion to the metric's distance from it.")


class ScalingStep(Model):
    lower_bound: float | None = None
    upper_bound: float | None = None
    target_adjustment: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower_bound is None and self.upper_bound is None:
            raise ValueError("a step needs lowerBound, upperBound or both")
        if self.lower_bound is not None and self.upper_bound is not None and self.lower_bound >= self.upper_bound:
            raise ValueError(f"lowerBound ({self.lower_bound:g}) is not under upperBound ({self.upper_bound:g})")
        return self


class StepScaling(Model):
    adjustment_type: Literal["changeInstanceCount", "exactInstanceCount", "percentChangeInstanceCount"]
    scaling_steps: list[ScalingStep] = Field(min_length=1)


class Metric(Model):
    metric_name: str = Field(description="A platform metric such as `network.ingress.cps`, or one of the service's own.")
    labels: dict[str, str] = Field(default={}, description="Attributes that narrow the metric down: `snow.endpoint.name: api`.")
    aggregation_type: Literal["min", "max", "avg"]
    stabilization_period_secs: int = Field(ge=0, description="How long it must hold.")
    target_scaling: TargetScaling | None = Field(default=None, description="Or stepScaling.")
    step_scaling: StepScaling | None = Field(default=None, description="Or targetScaling.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.target_scaling is None) == (self.step_scaling is None):
            raise ValueError("exactly one of targetScaling and stepScaling is needed")
        return self


class MetricCondition(Model):
    metric_condition: Metric


class AnyConditions(Model):
    any_conditions: list[MetricCondition] = Field(min_length=1, description="One that holds is enough.")


class AllConditions(Model):
    all_conditions: list[MetricCondition] = Field(min_length=1, description="All must hold.")


class AutoScalingPolicies(Model):
    scale_up: AnyConditions | None = None
    scale_down: AllConditions | None = None
    suspend: AllConditions | None = Field(default=None, description="When to suspend the service; only with targetScaling.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.scale_up is None and self.scale_down is None and self.suspend is None:
            raise ValueError("at least one of scaleUp, scaleDown and suspend is needed")
        if self.suspend is not None and any(c.metric_condition.step_scaling for c in self.suspend.all_conditions):
            raise ValueError("a suspend policy takes targetScaling only")
        return self


class ResourceManagement(Model):
    auto_scaling_policies: AutoScalingPolicies
