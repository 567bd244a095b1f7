"""The slides that people look at before they order: their records, and who fetches them."""

from broker.order_store.viewed_slides.record import NewSlide, SlideState, ViewedSlide
from broker.order_store.viewed_slides.store import SlideMessage, ViewedSlides

__all__ = ["NewSlide", "SlideMessage", "SlideState", "ViewedSlide", "ViewedSlides"]
