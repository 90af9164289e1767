"""Keys of a field in the order in which they came: typed over a slow link they arrive together."""

from textual.events import Key
from textual.widget import Widget


async def run_own_binding(field: Widget, event: Key) -> None:
    """Run the action that the field itself binds to the key; if it did something nobody else gets the key.

    Letters act as soon as the field has them. Textual runs a binding's action only when its key has gone on from the
    field to the application, which is after letters that were typed later and are there already.
    """
    found = field.screen.active_bindings.get(event.key)
    is_own = found is not None and found.node is field and found.enabled and not found.binding.priority
    if found is not None and is_own and await field.app.run_action(found.binding.action, field):
        event.stop()
        event.prevent_default()
