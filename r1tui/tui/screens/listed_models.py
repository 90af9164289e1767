"""State of the list of models: each model's entry, the group that it stands in, and those that a digit takes."""

from collections.abc import Iterable, Iterator

from r1tui.catalog.variants import Catalog, Variant
from r1tui.listing.overview import Group, ModelEntry
from r1tui.tui.widgets.model_cells import GROUPS


class ListedModels:
    """Models in groups. A model stays in its group when more is learned of it, until all are placed anew."""

    def __init__(self, catalog: Catalog, entries: dict[str, ModelEntry]) -> None:
        """`entries` by name are what an earlier list has learned; this one adds to them."""
        self._catalog = catalog
        self.entries = entries
        self.others: list[Variant] = []
        """Models on this machine that are none of the catalog's."""
        self._places: dict[str, Group] = {}
        names = {one.name for one in catalog}
        if names <= entries.keys():
            self.others = [one.variant for name, one in entries.items() if name not in names and one.path is not None]
            self.place()

    @property
    def are_placed(self) -> bool:
        """True if each model has its group."""
        return bool(self._places)

    def __iter__(self) -> Iterator[Variant]:
        return iter([*self._catalog, *self.others])

    def place(self, glances: Iterable[ModelEntry] = ()) -> bool:
        """Put each model in its group, by its entry, else by a first glance; true if any has another now.

        A glance is newer than an entry that says otherwise of whether the model is here.
        """
        known = self.entries.copy()
        for one in glances:
            entry = known.get(one.variant.name)
            if entry is None or (entry.path is None) != (one.path is None):
                known[one.variant.name] = one
        before = self._places
        self._places = {one.name: known[one.name].group if one.name in known else "rest" for one in self._catalog}
        self._places |= {one.name: "here" for one in self.others}
        return before != self._places

    def take_others(self, others: list[Variant]) -> None:
        """Take these as all models beside the catalog's; others of which an earlier list told are gone."""
        self.others = others
        for name in self.entries.keys() - {one.name for one in self}:
            del self.entries[name]

    def groups(self) -> Iterator[tuple[Group, list[Variant]]]:
        """The groups that have models, in order; none before all are placed."""
        for group in GROUPS:
            if of_it := [one for one in self if self._places.get(one.name) == group]:
                yield group, of_it

    @property
    def numbered(self) -> list[Variant]:
        """Models that a digit takes, in their order."""
        return next((models for group, models in self.groups() if group == "here"), [])

    def find(self, name: str | None) -> Variant | None:
        """The model of this name."""
        return next((one for one in self if one.name == name), None)

    def entry_of(self, variant: Variant) -> ModelEntry:
        """Its entry; one without any knowledge before it was looked at."""
        return self.entries.get(variant.name) or ModelEntry(variant, None, variant.size_gib, None)
