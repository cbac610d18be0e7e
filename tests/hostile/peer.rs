//! The broker's side of AMQP 0-9-1, for brokers that do what they should not.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(super) type Misdeed = fn(&mut Peer) -> io::Result<()>;

/// The broker's side of a connection.
pub(super) struct Peer(TcpStream);

impl Peer {
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the next frame: its channel, and the class and method of a method frame.
    pub(super) fn frame(&mut self) -> io::Result<(u16, Option<(u8, u8)>)> {
        let head = self.take(7)?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let content = self.take(usize::try_from(size).unwrap() + 1)?;
        let channel = u16::from_be_bytes([head[1], head[2]]);
        Ok((channel, (head[0] == 1).then(|| (content[1], content[3]))))
    }

    /// Reads until the client closes the connection.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        while self.0.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    /// Sends these bytes until the client closes the connection, and reads nothing.
    pub(super) fn flood(&mut self, bytes: &[u8]) -> io::Result<()> {
        let many = bytes.repeat(4096 / bytes.len() + 1);
        loop {
            self.send(&many)?;
        }
    }

    pub(super) fn greet(&mut self, greeting: &[u8]) -> io::Result<()> {
        self.take(8)?;
        self.send(greeting)
    }

    pub(super) fn login(&mut self, properties: &[u8], tune: [u8; 8]) -> io::Result<()> {
        self.greet(&start(properties))?;
        self.frame()?;
        self.send(&method(0, (10, 30), &tune))?;
        self.frame()?;
        self.frame()?;
        self.send(&method(0, (10, 41), &short(b"")))
    }

    /// Answers methods as a broker does, and calls `message` for each published message.
    pub(super) fn serve(
        &mut self,
        mut message: impl FnMut(&mut Self, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut tag = 0;
        loop {
            let (channel, asked) = self.frame()?;
            if asked == Some((60, 40)) {
                tag += 1;
                message(self, tag)?;
            } else {
                self.answer(channel, asked)?;
            }
        }
    }

    fn answer(&mut self, channel: u16, asked: Option<(u8, u8)>) -> io::Result<()> {
        let (answer, arguments) = match asked {
            Some((20, 10)) => ((20, 11), long(b"")),
            Some((20, 40)) => ((20, 41), Vec::new()),
            Some((40, 10)) => ((40, 11), Vec::new()),
            Some((50, 10)) => ((50, 11), [short(b"q"), vec![0; 8]].concat()),
            Some((50, 20)) => ((50, 21), Vec::new()),
            Some((60, 10)) => ((60, 11), Vec::new()),
            Some((60, 20)) => ((60, 21), short(TAG)),
            Some((85, 10)) => ((85, 11), Vec::new()),
            _ => return Ok(()),
        };
        self.send(&method(channel, answer, &arguments))
    }

    /// Behaves well until this many queues are consumed. The channels of queues are 1, 2, and so on.
    pub(super) fn consumed(&mut self, queues: usize) -> io::Result<()> {
        self.login(&[], TUNE)?;
        let mut left = queues;
        while left > 0 {
            let (channel, asked) = self.frame()?;
            self.answer(channel, asked)?;
            left -= usize::from(asked == Some((60, 20)));
        }
        Ok(())
    }

    /// Waits for a method of the client.
    pub(super) fn wait_for(&mut self, wanted: (u8, u8)) -> io::Result<()> {
        while self.frame()?.1 != Some(wanted) {}
        Ok(())
    }

    /// Behaves well until the first message.
    pub(super) fn welcome(
        &mut self,
        message: impl FnMut(&mut Self, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        self.login(&[], TUNE)?;
        self.serve(message)
    }

    pub(super) fn confirm(&mut self, tag: u64) -> io::Result<()> {
        self.send(&method(1, (60, 80), &[&tag.to_be_bytes()[..], &[0]].concat()))
    }
}

/// The consumer of each queue.
const TAG: &[u8] = b"consumer";

pub(super) const TUNE: [u8; 8] = [7, 255, 0, 2, 0, 0, 0, 60];

pub(super) fn frame(kind: u8, channel: u16, content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap();
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), content, &[0xce]].concat()
}

pub(super) fn method(channel: u16, (class, method): (u8, u8), arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&[0, class, 0, method], arguments].concat())
}

pub(super) fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

pub(super) fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

pub(super) fn start(properties: &[u8]) -> Vec<u8> {
    let texts = [long(b"PLAIN AMQPLAIN"), long(b"en_US")].concat();
    method(0, (10, 10), &[&[0, 9], &*long(properties), &texts].concat())
}

pub(super) fn returned(text: &[u8]) -> Vec<u8> {
    let texts = [short(text), short(b"ceilometer"), short(b"x.sample")].concat();
    method(1, (60, 50), &[&[1, 56], &*texts].concat())
}

/// `basic.deliver`.
pub(super) fn delivered(channel: u16, tag: u64) -> Vec<u8> {
    let texts = [short(b"ceilometer"), short(b"x.sample")].concat();
    let arguments = [&*short(TAG), &tag.to_be_bytes(), &[0], &*texts].concat();
    method(channel, (60, 60), &arguments)
}

/// The content header of a message without body.
pub(super) fn header(headers: &[u8]) -> Vec<u8> {
    sized_header(1, 0, headers)
}

/// The content header of a message.
pub(super) fn sized_header(channel: u16, size: u64, headers: &[u8]) -> Vec<u8> {
    let properties = [&[0x20, 0][..], &long(headers)].concat();
    frame(2, channel, &[&[0, 60, 0, 0][..], &size.to_be_bytes(), &properties].concat())
}

/// Nested tables.
pub(super) fn tables(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| [&b"\x01aF"[..], &long(&inner)].concat())
}

/// Nested arrays, in a table.
pub(super) fn arrays(depth: usize) -> Vec<u8> {
    let inner = (1..depth).fold(Vec::new(), |inner, _| [&b"A"[..], &long(&inner)].concat());
    [&b"\x01aA"[..], &long(&inner)].concat()
}

pub(super) const EVIL: &[u8] = b"\x1b[2J\x1b[31mEVIL\nERROR forged \xe2\x80\xae line";

pub(super) fn closed(channel: u16, number: (u8, u8)) -> Vec<u8> {
    let text = [&[1, 0x93][..], &short(EVIL), &[0, 0, 0, 0]].concat();
    method(channel, number, &text)
}

/// Starts a broker that does this to each client. It runs until the process ends.
pub(super) fn broker(misdeed: Misdeed) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let count = Arc::clone(&count);
            count.fetch_add(1, Relaxed);
            std::thread::spawn(move || {
                let mut peer = Peer(client);
                // Errors end a connection like any other end; after a misdeed, the client has to
                // close it.
                drop(misdeed(&mut peer).and_then(|()| peer.hold()));
                count.fetch_sub(1, Relaxed);
            });
        }
    });
    (port, open)
}
