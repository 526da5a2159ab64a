"""README, Plugin: an application by its address; whole and streamed, sync and async."""

import asyncio
import os

import qianfan

for endpoint in (os.environ["GUIDE_PLUGIN"], "assistant"):
    plugin = qianfan.Plugin()
    resp = plugin.do(endpoint=endpoint, prompt="你好")
    print(resp["result"])
    assert isinstance(resp["result"], str)

    resp = plugin.do(endpoint=endpoint, prompt="你好", stream=True)
    pieces = list(resp)
    assert pieces[-1]["is_end"] is True

    async def main(plugin: qianfan.Plugin, endpoint: str) -> None:
        resp = await plugin.ado(endpoint=endpoint, prompt="你好")
        print(resp["result"])
        resp = await plugin.ado(endpoint=endpoint, prompt="你好", stream=True)
        async for r in resp:
            print(r)

    asyncio.run(main(plugin, endpoint))
