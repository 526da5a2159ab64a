"""README, Embedding: a model by name, the default one for asyncio, one's own by endpoint."""

import asyncio
import os

import qianfan

emb = qianfan.Embedding(ak=os.environ["QIANFAN_AK"], sk=os.environ["QIANFAN_SK"])

resp = emb.do(model="Embedding-V1", texts=["世界上最高的山"])
print(resp["data"][0]["embedding"])
by_name = resp["data"][0]["embedding"]
assert len(by_name) > 1
assert all(isinstance(value, float) for value in by_name)


async def main() -> None:
    resp = await emb.ado(texts=["世界上最高的山"])
    print(resp["data"][0]["embedding"])
    assert len(resp["data"][0]["embedding"]) == len(by_name)


asyncio.run(main())

resp = emb.do(endpoint=os.environ["GUIDE_EMBEDDER"], texts=["世界上最高的山"])
assert len(resp["data"][0]["embedding"]) > 1

for model in ("bge-large-en", "bge-large-zh"):
    resp = emb.do(model=model, texts=["世界上最高的山", "珠穆朗玛峰"])
    assert [row["index"] for row in resp["data"]] == [0, 1], model
