"""A search of your own for `hpcagent tune --lib openblas --function mine.py`.

`propose` is called for each configuration that is to be measured next, in a process of its own with
limits of time (20 s), memory (4 GiB) and output. It gets plain data and answers with plain data.
Write your own in its place; `analyse` is only needed for the strategy `guided`.

space:   {"params": [{"name", "kind": "ordinal" or "categorical", "values", "default", "meaning"}],
          "restrictions": [...], "default": {name: value}, "facts": {...}, "seed": 12345,
          "problem": what was wrong with the last answer, if this is another try}
history: [{"config": {name: value}, "status": "measured", "failed", "not measured" or "pending",
          "ratio": time over the default's (below 1: faster) or None, "error": its standard error,
          "allowed": whether it keeps to the constraints of the run, "failure": "run.signal" and
          the like, "round", "proposed_by"}], the oldest first
answer:  {name: value} with a value of every parameter, all of them texts; or "STOP", or
         "STOP: and why"
"""


def propose(space, history):
    """Walk from the fastest configuration to neighbours that were not tried; then stop."""
    tried = [entry["config"] for entry in history]
    if space["default"] not in tried:
        return space["default"]
    measured = [entry for entry in history if entry["status"] == "measured"]
    measured.sort(key=lambda entry: entry["ratio"])
    for entry in measured[:3]:
        for config in neighbours(space, entry["config"]):
            if config not in tried and allowed(config):
                return config
    return "STOP: all neighbours of the three fastest were tried"


def neighbours(space, config):
    """All that differ in one parameter, by a step where it is ordinal."""
    for param in space["params"]:
        values, here = param["values"], config[param["name"]]
        place = values.index(here)
        near = values[max(0, place - 1) : place + 2] if param["kind"] == "ordinal" else values
        for value in near:
            if value != here:
                yield {**config, param["name"]: value}


def allowed(config):
    """What you know that the space does not say; invalid answers are told in space["problem"]."""
    return True


def analyse(space, history):
    """For `--strategy guided`: figures and words for the language model, names to values."""
    measured = [entry for entry in history if entry["status"] == "measured"]
    found = {}
    for param in space["params"]:
        for value in param["values"]:
            ratios = [e["ratio"] for e in measured if e["config"][param["name"]] == value]
            if ratios:
                found[f"least ratio with {param['name']}={value}"] = round(min(ratios), 3)
    return found
