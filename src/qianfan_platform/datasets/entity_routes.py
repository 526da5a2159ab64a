"""Single entities: HTTP in, HTTP out. A link to one needs no signature."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from qianfan.contract import entities as bodies
from qianfan.contract import routes
from qianfan.contract.enums import DataTemplateType
from qianfan_platform.web import Call, Router, Visit

from . import entities, links, listing, pictures
from .entities import Entity
from .listing import Wanted
from .tables import Dataset

router = Router()
PATH = "/v2/entities"


# The three open transactions of their own: the index of a large content is made before one begins.
@router.v1(routes.ENTITY_LIST, bodies.ListEntities, write=False)
async def list_entities(call: Call) -> Any:
    body = call.body
    page = await listing.page(
        call.platform,
        call.owner,
        body["datasetId"],
        Wanted.of(body),
        body.get("offset", 0),
        body.get("pageSize", listing.USUAL),
    )
    items = await asyncio.to_thread(lambda: [_item(page.dataset, entity, call) for entity in page.entities])
    return {"totalAll": page.total_all, "total": page.total, "items": items}


@router.v1(routes.ENTITY_ANNOTATE, bodies.AnnotateEntity, write=False)
async def annotate(call: Call) -> Any:
    body = call.body
    await entities.annotate(
        call.platform,
        call.owner,
        body["datasetId"],
        body["id"],
        content=body.get("content"),
        labels=body.get("labels"),
    )
    return True


@router.v1(routes.ENTITY_DELETE, bodies.DeleteEntities, write=False)
async def delete(call: Call) -> Any:
    failed = await entities.delete(call.platform, call.owner, call.body["datasetId"], call.body["id"])
    return {"failedOnes": failed or None}


@router.raw(f"{PATH}/{{dataset_id}}/{{entity_id}}", methods=["GET"], public=True)
async def read(visit: Visit) -> Response:
    """The text of an entity as it is now, or its picture, for whoever holds a link that this server made."""
    dataset_id, entity_id = visit.request.path_params["dataset_id"], visit.request.path_params["entity_id"]
    query, platform = visit.query, visit.platform
    if not links.holds(
        platform.link_key, f"{dataset_id}/{entity_id}", query.get("until", ""), query.get("mark", "")
    ):
        return Response("this link is not valid, or its time is over: list the entities again", 403)
    dataset, entity = await entities.entity(platform, None, dataset_id, entity_id)
    if dataset.template_type != DataTemplateType.Text2Image:
        return Response(_text(entity), media_type="text/plain; charset=utf-8")
    pack = await platform.files.local(entity.row["pack"])
    picture = await asyncio.to_thread(pictures.picture, entity.row, pack)
    return Response(
        picture,
        media_type=pictures.media_type(picture),
        headers={"X-Content-Type-Options": "nosniff", "Content-Disposition": "inline"},
    )


def _item(dataset: Dataset, entity: Entity, call: Call) -> dict[str, Any]:
    is_picture = isinstance(entity.row, dict)
    text = _text(entity)
    link = links.make(call.platform.link_key, f"{dataset.public_id}/{entity.id}")
    size = entity.row["size"] if is_picture else len(text.encode())
    is_text = dataset.template_type == DataTemplateType.GenericText
    return {
        "id": entity.id,
        "name": entity.row["image"] if is_picture else f"{dataset.name}_{entity.number + 1}",
        "labels": pictures.labels_of(entity.row) if is_picture else [],
        "url": f"{call.base_url}{PATH}/{dataset.public_id}/{entity.id}?{link}",
        "memorySize": size / 1e6,
        "isEncrypted": False,
        "textExtra": listing.figures_of(text) if is_text else None,
    }


def _text(entity: Entity) -> str:
    """What a reader gets: the text of a text, the JSON line of anything else."""
    return entity.row if isinstance(entity.row, str) else entity.line.decode()
