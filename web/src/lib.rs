//! Pages and the JSON interface of Tidegate. Nothing stands here yet.
