"""README, Chat: the default model, a model by name, a model of one's own; asyncio, whole and as a stream."""

import asyncio
import os

import qianfan

chat_comp = qianfan.ChatCompletion(ak=os.environ["QIANFAN_AK"], sk=os.environ["QIANFAN_SK"])

resp = chat_comp.do(messages=[{"role": "user", "content": "你好"}])
print(resp["body"]["result"])

resp = chat_comp.do(model="ERNIE-Bot", messages=[{"role": "user", "content": "你好"}])
assert isinstance(resp["result"], str)

your_custom_endpoint = os.environ["GUIDE_ENDPOINT"]
resp = chat_comp.do(endpoint=your_custom_endpoint, messages=[{"role": "user", "content": "你好"}])
assert isinstance(resp["result"], str)
assert resp["usage"]["total_tokens"] > 0


async def main() -> None:
    resp = await chat_comp.ado(model="ERNIE-Bot-turbo", messages=[{"role": "user", "content": "你好"}])
    print(resp["body"]["result"])
    resp = await chat_comp.ado(
        model="ERNIE-Bot-turbo", messages=[{"role": "user", "content": "你好"}], stream=True
    )
    last = None
    async for r in resp:
        print(r["result"])
        last = r
    assert last is not None
    assert last["is_end"] is True


asyncio.run(main())

for model in (
    "ERNIE-Bot-4",
    "BLOOMZ-7B",
    "Llama-2-7b-chat",
    "Llama-2-13b-chat",
    "Llama-2-70b-chat",
    "Qianfan-BLOOMZ-7B-compressed",
    "Qianfan-Chinese-Llama-2-7B",
    "ChatGLM2-6B-32K",
    "AquilaChat-7B",
):
    resp = chat_comp.do(model=model, messages=[{"role": "user", "content": "你好"}], max_output_tokens=2)
    assert isinstance(resp["result"], str), model
