//! A server that lies: it passes commands on and alters one kind of reply. The canary of the comparison.

use crate::conn::Conn;
use crate::resp::{self, Value};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// What the liar does to the reply of a command.
pub type Lie = fn(args: &[Vec<u8>], reply: Value) -> Value;

/// Serves on a port of its own until the process ends, telling what the server at `behind` says
/// except for the lie.
pub fn start(behind: u16, lie: Lie) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks ends its thread; the comparison sees that it is closed.
            thread::spawn(move || serve(stream, behind, lie));
        }
    });
    Ok(port)
}

fn serve(mut stream: TcpStream, behind: u16, lie: Lie) -> io::Result<()> {
    let mut server = Conn::open(behind)?;
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        while let Ok((command, length)) = resp::parse(&received) {
            received.drain(..length);
            let args: Vec<Vec<u8>> = command
                .items()
                .iter()
                .map(|item| item.bytes().to_vec())
                .collect();
            server.send(&args);
            let reply = lie(&args, server.reply());
            if reply == Value::Closed {
                return Ok(());
            }
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            stream.write_all(&bytes)?;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => received.extend_from_slice(&buffer[..n]),
        }
    }
}
