"""Find the texts that answer a question: vectors for many, ranking for the best.

Run: qianfan local -- python examples/search.py"""

import math

import qianfan

TEXTS = [
    "The kettle is guaranteed for seven years.",
    "The shop opens at nine and closes at six.",
    "水壶保修七年。",
    "Parrots like nuts.",
]


def cosine(one: list[float], other: list[float]) -> float:
    """How alike two vectors are, -1 to 1."""
    product = sum(left * right for left, right in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def main() -> None:
    question = "How long is the guarantee of the kettle?"
    rows = qianfan.Embedding().do(texts=[question, *TEXTS])["data"]
    asked, *kept = [row["embedding"] for row in rows]
    near = sorted(TEXTS, key=lambda text: cosine(asked, kept[TEXTS.index(text)]), reverse=True)[:3]

    for row in qianfan.Reranker().do(query=question, documents=near, top_n=2)["results"]:
        print(f"{row['relevance_score']:.3f}  {row['document']}")


if __name__ == "__main__":
    main()
