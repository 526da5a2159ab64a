"""What can be executed and saved; the classes live in `qianfan.model.runnable`."""
