"""What a fine-tune needs before it is started: memory by term, speed, hours and credits, and what `auto` becomes. Free of torch."""

from training.planner.alternatives import WayOut, ways_out
from training.planner.calibration import Calibration, Point, fit
from training.planner.choice import Choice, Rows, Task, Way, choose, in_words
from training.planner.machine import Machine, chip, known_chip
from training.planner.memory import Offload, Setting, gib
from training.planner.needs import Estimate, Verdict, Work, estimate
from training.planner.shape import Shape, UnknownShapeError
from training.planner.speed import flops_per_token
from training.planner.text import lines

__all__ = [
    "Calibration",
    "Choice",
    "Estimate",
    "Machine",
    "Offload",
    "Point",
    "Rows",
    "Setting",
    "Shape",
    "Task",
    "UnknownShapeError",
    "Verdict",
    "Way",
    "WayOut",
    "Work",
    "chip",
    "choose",
    "estimate",
    "fit",
    "flops_per_token",
    "gib",
    "in_words",
    "known_chip",
    "lines",
    "ways_out",
]
