//! The one log of effects, addressed by byte offset, with its readers' positions.
