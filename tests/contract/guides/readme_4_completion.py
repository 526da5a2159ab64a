"""README, Completion: whole and streamed, sync and async, a model by name and one's own."""

import asyncio
import os

import qianfan

comp = qianfan.Completion(ak=os.environ["QIANFAN_AK"], sk=os.environ["QIANFAN_SK"])

resp = comp.do(model="ERNIE-Bot", prompt="你好")
assert isinstance(resp["result"], str)

resp = comp.do(model="ERNIE-Bot", prompt="你好", stream=True)
for r in resp:
    print(r["result"])


async def main() -> None:
    resp = await comp.ado(model="ERNIE-Bot-turbo", prompt="你好")
    print(resp["body"]["result"])
    resp = await comp.ado(model="ERNIE-Bot-turbo", prompt="你好", stream=True)
    async for r in resp:
        print(r["result"])


asyncio.run(main())

resp = comp.do(endpoint=os.environ["GUIDE_ENDPOINT"], prompt="你好")
assert isinstance(resp["result"], str)

resp = comp.do(prompt="你好")  # the default model
assert resp["body"]["object"] == "completion"
