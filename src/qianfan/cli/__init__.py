"""The command `qianfan`: one file per noun. Only here are typer and rich imported."""
