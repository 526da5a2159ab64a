"""Many conversations at once, with asyncio, none faster than allowed.

Run: qianfan local -- python examples/at_once.py"""

import asyncio

import qianfan


async def main() -> None:
    chat = qianfan.ChatCompletion(query_per_second=20)
    cities = ["Beijing", "Chengdu", "Xi'an", "Hangzhou", "Lhasa"]
    questions = [[{"role": "user", "content": f"Say one thing about {city}."}] for city in cities]
    answers = await chat.abatch_do(questions, max_output_tokens=30)
    for city, answer in zip(cities, answers, strict=True):
        print(f"{city}: {answer if isinstance(answer, Exception) else answer['result']}")


if __name__ == "__main__":
    asyncio.run(main())
