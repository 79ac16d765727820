"""The web application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from shop import orders
from shop.resources import opened


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with opened() as app.state.resources:
        yield


def create_app() -> FastAPI:
    """The application; what it uses is opened when it starts."""
    app = FastAPI(lifespan=_lifespan)

    @app.post("/orders", status_code=201)
    async def place(item: str, request: Request) -> dict[str, int]:
        try:
            return {"id": await orders.place(request.app.state.resources, item)}
        except orders.SoldOutError:
            raise HTTPException(409, f"{item} is sold out") from None

    @app.get("/orders/{number}")
    async def look(number: int, request: Request) -> dict[str, str]:
        state = await orders.state(request.app.state.resources, number)
        if state is None:
            raise HTTPException(404, f"there is no order {number}")
        return {"state": state}

    return app
