"""Ask models on this machine: a chat as a stream, a conversation, vectors. Run: python examples/chat.py"""

import qianfan


def main() -> None:
    with qianfan.embedded.start():
        chat = qianfan.ChatCompletion()
        messages = [{"role": "user", "content": "Name a river in China."}]
        for piece in chat.do(messages=messages, stream=True):
            print(piece["result"], end="", flush=True)
        vectors = qianfan.Embedding().do(texts=["世界上最高的山"])
        print(len(vectors["data"][0]["embedding"]))


if __name__ == "__main__":
    main()
