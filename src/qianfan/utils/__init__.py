"""Public paths we keep: `qianfan.utils.logging`."""
