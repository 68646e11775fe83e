//! Decoding requests and encoding replies (RESP2 and RESP3); no knowledge of commands.
