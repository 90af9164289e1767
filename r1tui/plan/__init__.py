"""What goes where: from a model's header and a machine's memory to llama-server's arguments, with the reasons."""

from r1tui.messages import DevicePlan, HostPlan
from r1tui.plan.planner import make_plan
from r1tui.plan.request import Device, DeviceBackend, PlanRequest
from r1tui.plan.result import Plan
from r1tui.plan.verdict import Verdict, rule_of_thumb, verdict_by_size

__all__ = [
    "Device",
    "DeviceBackend",
    "DevicePlan",
    "HostPlan",
    "Plan",
    "PlanRequest",
    "Verdict",
    "make_plan",
    "rule_of_thumb",
    "verdict_by_size",
]
