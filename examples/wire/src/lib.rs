//! Nothing to import: see the folders beside this one.
