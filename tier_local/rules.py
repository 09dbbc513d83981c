"""The rules of a hospital's policy by name, and the one sentence that each may send out of the hospital.

The sentences hold no figure and no path: whoever reads a refusal learns which rule it was, and no more.
"""

from enum import Enum


class Rule(Enum):
    """What a hospital's policy can refuse by; the value is the rule's name."""

    POLICY_FILE = "policy_file"
    SITE = "site"
    APPROVED = "approved"
    KILL_SWITCH = "kill_switch"
    CLOCK = "clock"
    HOURS = "hours"
    TASKS = "tasks"
    BASE_MODELS = "base_models"
    DATA_SETS = "data_sets"
    STEPS_PER_ROUND = "steps_per_round"
    EPOCHS_PER_ROUND = "epochs_per_round"
    STEPS_PER_DAY = "steps_per_day"
    STEPS_PER_TASK = "steps_per_task"
    LEAST_RECORDS = "least_records"
    MEMORY = "memory"
    GPU = "gpu"
    FIGURES = "figures"
    PRIVACY_BUDGET = "privacy_budget"
    EGRESS_LOG = "egress_log"

    @property
    def sentence(self) -> str:
        """What the hospital says when it refuses by this rule."""
        return _SENTENCES[self]


_SENTENCES = {
    Rule.POLICY_FILE: "the hospital's policy is missing, unsafe or not valid, so nothing is permitted",
    Rule.SITE: "the policy is another hospital's",
    Rule.APPROVED: "the policy is no longer the one that the network approved the task with",
    Rule.KILL_SWITCH: "the hospital has stopped all work",
    Rule.CLOCK: "the hospital's clock went back, so its budgets cannot be counted",
    Rule.HOURS: "the policy permits no work at this time",
    Rule.TASKS: "the policy does not permit this task",
    Rule.BASE_MODELS: "the policy does not permit this base model",
    Rule.DATA_SETS: "the policy does not permit this use of these records",
    Rule.STEPS_PER_ROUND: "the task asks for more steps in a round than the policy permits",
    Rule.EPOCHS_PER_ROUND: "the task would go through the records more often than the policy permits",
    Rule.STEPS_PER_DAY: "the steps that the policy permits in 24 hours are used up",
    Rule.STEPS_PER_TASK: "the steps that the policy permits to this task are used up",
    Rule.LEAST_RECORDS: "there are fewer records than the policy demands",
    Rule.MEMORY: "the work needs more memory than the policy permits",
    Rule.GPU: "the work needs more GPU memory than the policy permits",
    Rule.FIGURES: "the policy lets no figures about records out, and this work is nothing else",
    Rule.PRIVACY_BUDGET: "the privacy budget of the year is used up",
    Rule.EGRESS_LOG: "the hospital cannot keep its egress log",
}
