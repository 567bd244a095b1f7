"""Routes that show images, runnable containers and classes, as workers have announced them.

They are changed in config.json, or by `slidelane image` on the machine of a worker: nothing that
comes over HTTP decides what runs.
"""

from fastapi import APIRouter, Depends

from services.dependencies import Store, may_read
from services.responses import hosting
from services.responses.hosting import ClassesView, ContainersView, ImagesView

router = APIRouter(prefix="/v1", tags=["hosting"], dependencies=[Depends(may_read)])


@router.get("/images")
def list_images(store: Store) -> ImagesView:
    """The images that the machines of workers know: whether each is there, and its digest."""
    return hosting.images_view(store.hosting_machines())


@router.get("/containers")
def list_containers(store: Store) -> ContainersView:
    """The programs that can be ordered: image, class, names of their variables."""
    return hosting.containers_view(store.hosting_machines(), store.algorithms())


@router.get("/classes")
def list_classes(store: Store) -> ClassesView:
    """The classes of machines: queue, CPUs, memory and GPUs, and how many workers there are."""
    return hosting.classes_view(store.hosting_machines(), store.workers())
