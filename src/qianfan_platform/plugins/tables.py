"""Rows of plugins: applications with their tools, knowledge bases with their documents and chunks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import DocumentStatus
from qianfan_platform.store import Base, Json, Row


class KnowledgeBase(Row):
    """Documents that are asked together. `revision` grows with every change of what can be found."""

    __tablename__ = "knowledge_base"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)
    PREFIX = "kb"
    NOUN = "knowledge base"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    revision: Mapped[int] = mapped_column(default=0)


class Document(Row):
    """A text in a knowledge base. `file_id` is the text as it was given, None while a URL was not fetched."""

    __tablename__ = "knowledge_document"
    PREFIX = "doc"
    NOUN = "document"

    base_id: Mapped[int] = mapped_column(ForeignKey("knowledge_base.id"), index=True)
    name: Mapped[str]
    format: Mapped[str] = mapped_column(default="")  # text, markdown, html; "" when its content tells
    source: Mapped[str]  # text: given with the call; file: uploaded before; url: fetched
    url: Mapped[str] = mapped_column(Text, default="")
    file_id: Mapped[str | None]
    status: Mapped[str] = mapped_column(default=DocumentStatus.New.value)
    reason: Mapped[str] = mapped_column(Text, default="")
    embedder: Mapped[str] = mapped_column(default="")  # the catalogue's name of what made the vectors
    chunk_count: Mapped[int] = mapped_column(default=0)
    character_count: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[int | None]


class Chunk(Base):
    """A piece of a document. vector: float32, little endian, of length 1; terms: hashes, uint32, sorted."""

    __tablename__ = "knowledge_chunk"
    __table_args__ = (UniqueConstraint("document_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("knowledge_document.id"))
    base_id: Mapped[int] = mapped_column(ForeignKey("knowledge_base.id"), index=True)
    number: Mapped[int]  # from 0, in the document
    text: Mapped[str] = mapped_column(Text)
    terms: Mapped[bytes] = mapped_column(LargeBinary)
    vector: Mapped[bytes | None] = mapped_column(LargeBinary)


class PluginApp(Row):
    """A plugin application: the model, and what it may use."""

    __tablename__ = "plugin_app"
    __table_args__ = (UniqueConstraint("owner_id", "uri"),)
    PREFIX = "plg"
    NOUN = "plugin"

    name: Mapped[str]
    uri: Mapped[str]  # what `endpoint=` takes
    description: Mapped[str] = mapped_column(default="")
    model: Mapped[str] = mapped_column(default="")  # an endpoint or a model's name; "" is the default model
    system: Mapped[str] = mapped_column(Text, default="")
    bases: Mapped[Any] = mapped_column(Json, default=list)  # numbers of knowledge bases
    builtins: Mapped[Any] = mapped_column(Json, default=list)  # clock, calculator
    top_n: Mapped[int]
    score: Mapped[float]


class PluginTool(Row):
    """An HTTP service that a plugin may call. `credential` is sealed; `operations` are `openapi.Operation`s."""

    __tablename__ = "plugin_tool"
    __table_args__ = (UniqueConstraint("app_id", "name"),)
    PREFIX = "tool"
    NOUN = "tool"

    app_id: Mapped[int] = mapped_column(ForeignKey("plugin_app.id"), index=True)
    name: Mapped[str]
    server: Mapped[str] = mapped_column(Text)
    operations: Mapped[Any] = mapped_column(Json, default=list)
    credential: Mapped[str | None] = mapped_column(Text)
