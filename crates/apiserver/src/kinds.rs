//! The kinds that are served: names, defaults, validation, selectable fields, allocation.
