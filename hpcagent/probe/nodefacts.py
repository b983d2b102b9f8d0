"""From the raw facts of one node to its NodeFacts; pure, and never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcagent.probe import nodefacts_devices as devices
from hpcagent.probe import nodefacts_hardware as hardware
from hpcagent.probe import nodefacts_system as system
from hpcagent.probe.look import Look, part_of
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.node import SECTIONS, Absent, NodeFacts, node_facts
from hpcagent.probe.rawfacts import RawFacts

_MAKERS = (
    *(hardware.processor, hardware.topology, hardware.memory),
    *(system.performance, system.limits, system.system, system.access),
    *(devices.gpu_facts, devices.fabric_facts, devices.filesystem_facts, devices.launcher_facts),
)


def parse_node(facts: Mapping[str, Any]) -> NodeFacts:
    """What facts.json with the part `node` tells; every fact that is not there has a reason."""
    node = part_of(facts, "node")
    if not node.data or node.data.get("problem"):
        why = str(node.data.get("problem") or "the part node was not collected")
        return node_facts(Absent(section, section.lower(), why) for section in SECTIONS)
    look = Look(RawFacts(facts), node, parse_machine(facts))
    return node_facts(item for maker in _MAKERS for item in maker(look))
