"""README, Chat: `Messages` keeps a conversation of many turns; it ends where the input ends."""

import os

import qianfan

chat_comp = qianfan.ChatCompletion(ak=os.environ["QIANFAN_AK"], sk=os.environ["QIANFAN_SK"])

msgs = qianfan.Messages()
try:
    while True:
        msgs.append(input())
        resp = chat_comp.do(messages=msgs)
        print(resp)
        msgs.append(resp)
except EOFError:
    pass

turns = list(msgs)
assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2), turns
assert len(turns) == 4, turns
