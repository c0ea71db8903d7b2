"""A gateway as a team would write it in an afternoon, and write it well: FastAPI
on uvicorn with uvloop, Pillow for preprocessing, NVIDIA's asyncio client for
Triton, one process for each core.

It is what agiqa's gateway is held against. It does the same work for a request,
without what agiqa adds (limits on hostile images, caches, admission, traces,
metrics, problem documents): image bytes in, the exact resize and crop, the
ensemble on Triton, score and similarities out. Decoding runs in threads, as
Pillow lets go of the interpreter's lock while it decodes and resizes.

    PEER_TRITON=127.0.0.1:8001 PEER_MODEL=clip_agiqa_... uvicorn gateway:app --workers 2
"""

import asyncio
import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import tritonclient.grpc.aio as triton
from fastapi import FastAPI, HTTPException, Request
from PIL import Image, UnidentifiedImageError
from tritonclient.utils import InferenceServerException

SIDE = 224
MODEL = os.environ["PEER_MODEL"]
CATEGORIES = ("terrible", "bad", "poor", "average", "good", "perfect")
OUTPUTS = [triton.InferRequestedOutput(name) for name in ("score", "category_similarity")]
MAX_BODY = 20 << 20


@asynccontextmanager
async def lifespan(app):
    app.state.triton = triton.InferenceServerClient(os.environ["PEER_TRITON"])
    # Threads beyond the process's share of the cores only fight over them.
    app.state.pool = ThreadPoolExecutor(max_workers=int(os.environ.get("PEER_THREADS", "1")))
    app.state.texts = await text_embeddings(app.state.triton)
    yield
    app.state.pool.shutdown()
    await app.state.triton.close()


async def text_embeddings(client):
    """Six unit vectors of the model's width. What they are does not matter for
    what a request costs."""
    metadata = await client.get_model_metadata(MODEL)
    dim = next(int(t.shape[-1]) for t in metadata.inputs if t.name == "text_embeddings")
    v = np.random.default_rng(1).standard_normal((1, 6, dim), dtype=np.float32)
    v /= np.linalg.norm(v, axis=2, keepdims=True)
    tensor = triton.InferInput("text_embeddings", list(v.shape), "FP32")
    tensor.set_data_from_numpy(v)
    return tensor


def pixels(data):
    """The pixels that training saw: shorter side to 224 by Pillow's bicubic
    filter, and the middle of that."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    w, h = image.size
    scale = SIDE / min(w, h)
    w, h = max(SIDE, int(w * scale)), max(SIDE, int(h * scale))
    image = image.resize((w, h), Image.Resampling.BICUBIC)
    left, top = round((w - SIDE) / 2), round((h - SIDE) / 2)
    image = image.crop((left, top, left + SIDE, top + SIDE))
    return np.asarray(image, dtype=np.uint8)[np.newaxis]


app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def ready(request: Request):
    if not await request.app.state.triton.is_model_ready(MODEL):
        raise HTTPException(503, "the model is not ready")
    return {"status": "ready"}


@app.post("/v1/score")
async def score(request: Request):
    data = await request.body()
    if len(data) > MAX_BODY:
        raise HTTPException(413, "the image is too large")
    state = request.app.state
    try:
        batch = await asyncio.get_running_loop().run_in_executor(state.pool, pixels, data)
    except (UnidentifiedImageError, OSError) as e:
        raise HTTPException(422, f"not an image: {e}") from e
    tensor = triton.InferInput("pixels", list(batch.shape), "UINT8")
    tensor.set_data_from_numpy(batch)
    try:
        answer = await state.triton.infer(MODEL, [tensor, state.texts], outputs=OUTPUTS, client_timeout=30)
    except InferenceServerException as e:
        raise HTTPException(503, str(e)) from e
    similarity = answer.as_numpy("category_similarity")[0]
    return {
        "results": [{"score": float(answer.as_numpy("score")[0, 0]), "categories": dict(zip(CATEGORIES, map(float, similarity)))}],
    }
