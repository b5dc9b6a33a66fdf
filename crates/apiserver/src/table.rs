//! Objects as the tables kubectl prints.
