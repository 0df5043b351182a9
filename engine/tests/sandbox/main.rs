//! The engine with real guests, most of them hostile. What each attack gets is in `docs/threat-model.md`.

mod attacks;
mod bench;
mod compiling;
mod document;
mod guest;
mod host_functions;
mod linking;
mod loading;
mod usage;
mod wat_guest;
