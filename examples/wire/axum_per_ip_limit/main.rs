//! A limit for each client of a server that stands behind a proxy: clients are told apart by the address that the
//! proxy saw, whatever they claim, and a flood of addresses takes no memory.
//!
//! `cargo run --example axum_per_ip_limit` takes about two seconds and needs nothing but this machine. It ends by
//! checking its own claims against what the servers counted, and fails if one is wrong. `server.rs` is to be
//! copied; `tests/wire/tests/nginx.rs` puts a real nginx in front of it.

mod caller;
mod proxy;
mod server;

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

use portcullis::{BoxError, RateLimitConfig, http::key::ClientIp};
use wire_examples::{Claims, Ink, Paint, is_own};

use crate::{
    caller::{Caller, Got},
    proxy::Proxy,
    server::Server,
};

/// Longer than the story takes on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many requests a client has at once. The next comes back in an hour, after the end of the story.
const BURST: u64 = 5;
/// How many clients are told apart, and how many the last server can tell apart.
const CLIENTS: usize = 10_000;
const FEW: usize = 100;
/// How many addresses flood that one.
const FLOOD: u16 = 1_000;

fn limit() -> RateLimitConfig {
    RateLimitConfig::new("clients", 1, Duration::from_secs(3_600)).burst(BURST)
}

#[tokio::main]
async fn main() -> ExitCode {
    wire_examples::run("axum_per_ip_limit", PATIENCE, story()).await
}

/// What is told so far.
struct Story {
    claims: Claims,
    paint: Paint,
}

async fn story() -> Result<Claims, BoxError> {
    let mut story = Story { claims: Claims::new(), paint: Paint::new() };
    // The proxy is known by its address.
    let trusted = ClientIp::trusted_proxies(["127.0.0.1"]).x_forwarded_for();
    let server = Server::start(limit(), CLIENTS, trusted.clone()).await?;
    let proxy = Proxy::before(server.address).await?;
    story.title(&format!(
        "A server that lets each client ask {BURST} times, behind a proxy that it trusts:"
    ))?;
    story.clients(&server, &proxy).await?;
    story.forgery(&server, &proxy).await?;
    story.around(&server).await?;
    story.networks(&server, &proxy).await?;

    // The proxy is known to be there, and nothing else.
    let counted = ClientIp::trusted_hops(1).x_forwarded_for();
    let counting = Server::start(limit(), CLIENTS, counted).await?;
    let before = Proxy::before(counting.address).await?;
    story.title("One that counts on a proxy, whoever that is:")?;
    story.counted(&counting, &before).await?;

    let small = Server::start(limit(), FEW, trusted).await?;
    let before = Proxy::before(small.address).await?;
    story.title(&format!("One that can tell {FEW} clients apart:"))?;
    story.flood(&small, &before).await?;
    story.claims.print(story.paint)?;
    Ok(story.claims)
}

impl Story {
    fn title(&self, text: &str) -> io::Result<()> {
        writeln!(
            io::stdout(),
            "\n{text}\n{}",
            self.paint.ink(Ink::Dim, format!("  {:<50} {:<24} taken for", "", "answers"))
        )
    }

    fn note(&self, what: &str, got: &Got) -> io::Result<()> {
        let ink = if got.status(429) == 0 { Ink::Green } else { Ink::Yellow };
        writeln!(io::stdout(), "  {what:<50} {}", self.paint.ink(ink, got.to_string()).trim_end())
    }

    fn claim(&mut self, says: impl Into<String>, holds: bool) {
        self.claims.claim(holds, says);
    }

    /// Asks so many times, and takes down what came of it.
    async fn ask(
        &self,
        what: &str,
        caller: &Caller,
        at: SocketAddr,
        times: usize,
        forged: impl Fn(usize) -> Vec<String>,
    ) -> Result<Got, BoxError> {
        let mut got = Got::default();
        for number in 0..times {
            let lines = forged(number);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            caller.ask(at, &lines, &mut got).await?;
        }
        self.note(what, &got)?;
        Ok(got)
    }

    async fn clients(&mut self, server: &Server, proxy: &Proxy) -> Result<(), BoxError> {
        let mut limits = true;
        let mut after = None;
        for address in ["127.0.0.2", "127.0.0.3"] {
            let caller = Caller::at(address.parse()?)?;
            let what = format!("{address} through the proxy");
            let got = self.ask(&what, &caller, proxy.address, 8, honest).await?;
            limits &= got.is(BURST, 3) && got.always(address);
            after = got.after;
        }
        let handled = server.handled.load(SeqCst);
        self.claim(
            format!("two clients behind one proxy had {BURST} requests each"),
            limits && handled == 2 * BURST && server.limiters.snapshot().keys == 2,
        );
        let after: Option<u64> = after.and_then(|after| after.parse().ok());
        self.claim(
            "what was refused told when to come back, and that nothing was left",
            after.is_some_and(|after| (3_000..=3_600).contains(&after)),
        );
        Ok(())
    }

    async fn forgery(&mut self, server: &Server, proxy: &Proxy) -> Result<(), BoxError> {
        let (handled, keys) = (server.handled.load(SeqCst), server.limiters.snapshot().keys);
        let caller = Caller::at([127, 0, 0, 2].into())?;
        let what = "127.0.0.2 forges X-Forwarded-For";
        let forged = self.ask(what, &caller, proxy.address, 12, forge).await?;
        let outer = Proxy::before(proxy.address).await?;
        let what = "127.0.0.2 through two proxies";
        let twice = self.ask(what, &caller, outer.address, 8, forge).await?;
        self.claim(
            "20 forged headers got it nothing more, nor did a second proxy in front",
            forged.is(0, 12)
                && twice.is(0, 8)
                && outer.sent_on() == 8
                && proxy.sent_on() == 2 * 8 + 12 + 8
                && server.handled.load(SeqCst) == handled
                && server.limiters.snapshot().keys == keys,
        );
        Ok(())
    }

    async fn around(&mut self, server: &Server) -> Result<(), BoxError> {
        let address = IpAddr::from([127, 0, 0, 4]);
        if !is_own(address) {
            return self.left_out(address);
        }
        let (handled, keys) = (server.handled.load(SeqCst), server.limiters.snapshot().keys);
        let caller = Caller::at(address)?;
        let what = "127.0.0.4 around the proxy, and forges";
        let got = self.ask(what, &caller, server.address, 12, forge).await?;
        self.claim(
            "who got around the proxy was taken for its own address, whatever it claimed",
            got.is(BURST, 12 - BURST)
                && got.always("127.0.0.4")
                && server.handled.load(SeqCst) == handled + BURST
                && server.limiters.snapshot().keys == keys + 1,
        );
        Ok(())
    }

    fn left_out(&self, address: IpAddr) -> Result<(), BoxError> {
        writeln!(io::stdout(), "  left out: this machine has no address {address}")?;
        Ok(())
    }

    async fn networks(&mut self, server: &Server, proxy: &Proxy) -> Result<(), BoxError> {
        let keys = server.limiters.snapshot().keys;
        let mut got = Got::default();
        for host in 1..=8 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, host, host);
            let caller = Caller::at(address.into())?;
            caller.ask(proxy.address, &[], &mut got).await?;
        }
        self.note("8 addresses of one network of IPv6", &got)?;
        let neighbour = Caller::at(Ipv6Addr::new(0x2001, 0xdb8, 1, 3, 0, 0, 0, 1).into())?;
        let what = "and one of the next network";
        let next = self.ask(what, &neighbour, proxy.address, 1, honest).await?;
        self.claim(
            "all addresses of a network of IPv6 (/64) are one client, and those of the next another",
            got.is(BURST, 8 - BURST)
                && next.is(1, 0)
                && server.limiters.snapshot().keys == keys + 2,
        );
        Ok(())
    }

    async fn counted(&mut self, server: &Server, proxy: &Proxy) -> Result<(), BoxError> {
        let caller = Caller::at([127, 0, 0, 2].into())?;
        let what = "127.0.0.2 through the proxy, and forges";
        let through = self.ask(what, &caller, proxy.address, 8, forge).await?;
        self.claim(
            "one who counts its proxies is not to be deceived through them, either",
            through.is(BURST, 3) && through.always("127.0.0.2"),
        );
        let handled = server.handled.load(SeqCst);
        let what = "somebody around the proxy, and forges";
        let chosen = |number| vec![format!("198.51.100.{number}")];
        let around = self.ask(what, &caller, server.address, 12, chosen).await?;
        self.claim(
            "but who gets around the proxy chooses its address: where that is possible, name networks",
            around.is(12, 0) && server.handled.load(SeqCst) == handled + 12,
        );
        Ok(())
    }

    async fn flood(&mut self, server: &Server, proxy: &Proxy) -> Result<(), BoxError> {
        let known = Caller::at([127, 0, 0, 3].into())?;
        let what = "127.0.0.3, before";
        let before = self.ask(what, &known, proxy.address, 3, honest).await?;
        let mut got = Got::default();
        let mut full = None;
        for network in 0..FLOOD {
            if usize::from(network) == 2 * FEW {
                full = Some(server.limiters.snapshot().bytes);
            }
            let address = Ipv6Addr::new(0x2001, 0xdb8, 2, network, 0, 0, 0, 1);
            Caller::at(address.into())?.ask(proxy.address, &[], &mut got).await?;
        }
        self.note(&format!("a request from each of {FLOOD} addresses"), &got)?;
        let found = server.limiters.snapshot();
        let own = FEW as u64 - 1;
        self.claim(
            format!(
                "a flood of {FLOOD} addresses: {own} had limits of their own, all others together one"
            ),
            got.is(own + BURST, u64::from(FLOOD) - own - BURST)
                && (found.keys, found.untracked) == (FEW, BURST),
        );
        self.claim(
            format!(
                "and the table, full early on, took no more than its {} bytes then",
                found.bytes
            ),
            full == Some(found.bytes),
        );
        let what = "127.0.0.3, afterwards";
        let after = self.ask(what, &known, proxy.address, 4, honest).await?;
        self.claim(
            "a known client did not notice: it had what was left of its own",
            before.is(3, 0) && after.is(BURST - 3, 2),
        );
        Ok(())
    }
}

/// No header of its own.
fn honest(_: usize) -> Vec<String> {
    Vec::new()
}

/// What a client may send to be taken for another each time.
fn forge(number: usize) -> Vec<String> {
    match number % 4 {
        0 => vec![format!("198.51.100.{number}")],
        1 => vec![format!("198.51.100.{number}, 127.0.0.1")],
        2 => vec![format!("198.51.100.{number}"), "127.0.0.1".to_owned()],
        _ => vec!["\"unknown, ,, \\".to_owned(), format!("198.51.100.{number}")],
    }
}
