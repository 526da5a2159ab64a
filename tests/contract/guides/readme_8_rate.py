"""README, rate limit: half a call a second leaves at 0 s and 2 s."""

import time

import qianfan

chat_comp = qianfan.ChatCompletion(query_per_second=0.5)
hello = [{"role": "user", "content": "你好"}]

began = time.monotonic()
chat_comp.do(endpoint="echo", messages=hello)
first = time.monotonic() - began
chat_comp.do(endpoint="echo", messages=hello)
second = time.monotonic() - began
assert first < 1.5, first
assert 1.95 <= second < 4, second
