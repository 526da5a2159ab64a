"""README: credentials by the environment, by functions, and at construction; the later beats the earlier."""

import os

ak, sk = os.environ["QIANFAN_AK"], os.environ["QIANFAN_SK"]
hello = [{"role": "user", "content": "你好"}]

os.environ["QIANFAN_AK"] = "wrong"
os.environ["QIANFAN_SK"] = "wrong"

import qianfan  # noqa: E402  the environment is read when it is first needed

try:
    qianfan.ChatCompletion().do(messages=hello)
except qianfan.errors.QianfanError as refused:
    print(refused)
else:
    raise AssertionError("wrong keys of the environment were taken")

chat_comp = qianfan.ChatCompletion(ak=ak, sk=sk)
resp = chat_comp.do(messages=hello)
assert resp["body"]["result"] == resp["result"]

qianfan.AK(ak)
qianfan.SK(sk)
resp = qianfan.ChatCompletion().do(messages=hello)
assert isinstance(resp["result"], str)
