"""Types and states of a service. The words of the wire are in `qianfan.resources.console.consts`."""

from __future__ import annotations

from enum import Enum


class ServiceStatus(str, Enum):
    """Where a deployment stands."""

    Unknown = "Unknown"
    Created = "Created"
    Deploying = "Deploying"
    Deployed = "Deployed"
    DeployFailed = "DeployFailed"
    DeployStopped = "DeployStopped"


class ServiceType(str, Enum):
    """What a service answers; decides the class that `Service.get_res()` gives."""

    Chat = "Chat"
    Completion = "Completion"
    Embedding = "Embedding"
    Text2Image = "Text2Image"
