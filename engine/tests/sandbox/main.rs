//! The engine with real guests, most of them hostile. What each attack gets is in `docs/threat-model.md`.

mod attacks;
mod bench;
mod compiling;
mod guest;
mod host_functions;
mod linking;
mod loading;
mod wat_guest;
