"""Ask your own documents. Run from the folder above: python examples/knowledge_base.py"""

import qianfan
from qianfan.resources import PluginManager

HANDBOOK = """\
# Office

The office opens at nine and closes at six. Guests sign in at the desk on the ground floor.

# Canteen

The canteen serves noodles on Friday and rice on the other days.

# 退货

自收到商品之日起七天内，可以无理由退货，商品须保持完好。
"""


def main() -> None:
    with qianfan.embedded.start():
        base = PluginManager.create_knowledge_base("handbook")["result"]["knowledgeBaseId"]
        document = PluginManager.add_document(base, text=HANDBOOK, name="handbook.md")["result"]["documentId"]
        PluginManager.wait_document(base, document)

        for question in ("怎么退货？", "what is for lunch on Friday?"):
            passage = PluginManager.search(base, question, top_n=1)["result"]["responses"][0]
            print(question, passage["score"], passage["content"])

        PluginManager.create("help desk", uri="help_desk", knowledge_bases=[base])
        plugin = qianfan.Plugin()
        for part in plugin.do(
            "what is for lunch on Friday?", endpoint="help_desk", stream=True, verbose=True
        ):
            print(part["result"], end="", flush=True)
        sources = part["meta_info"]["response"]["result"]["responses"]
        print("\nsource:", sources[0]["docName"])

        print(plugin.do("12*(3+4)", endpoint="assistant")["result"])


if __name__ == "__main__":
    main()
