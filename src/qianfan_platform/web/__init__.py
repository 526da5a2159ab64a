"""HTTP in common: routes, bodies, envelopes, errors, event streams, the access log."""

from qianfan_platform.web.call import Call, Identity, Source, Visit
from qianfan_platform.web.console import build_console
from qianfan_platform.web.envelopes import Refused
from qianfan_platform.web.router import Router

__all__ = ["Call", "Identity", "Refused", "Router", "Source", "Visit", "build_console"]
