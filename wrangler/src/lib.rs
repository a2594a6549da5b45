//! The front door of the published book.
//!
//! The runtime serves the pages by itself. Two kinds of requests come here: `/`,
//! which has no file name, and `/live/*`, where the chapters run: each visitor plays
//! in objects of their own, and only so much. Everything else is the book's own 404
//! page.
#![deny(clippy::await_holding_refcell_ref)]

mod address;
mod gate;
mod headers;
mod origin;
mod pace;
mod price;
mod refusal;
mod relay;
mod route;
mod visitor;

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use gate::{Ask, BODY_MAX, BODY_SECONDS};
use headers::Asked;
use origin::Foreign;
use price::INCLUDED;
use refusal::{Failure, Refusal};
use route::{Act, Route, binding};
use visitor::{Bad, Purpose, Signer, Token, from_cookies, set_cookie};
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen::JsCast;
use worker::wasm_bindgen::prelude::*;
use worker::{
    Context, Date, Delay, Env, Error, Fetch, Fetcher, Headers, Method, Request,
    RequestInit, Response, Result, WebSocketPair, console_error, event, web_sys,
};

/// Which variable says whose objects a client without a cookie plays with. Only a
/// machine of your own has it.
const WITHOUT_COOKIE: &str = "WITHOUT_COOKIE";
/// In which header a chapter's Worker is told whose objects are meant.
const VISITOR: &str = "Live-Visitor";
/// In which header it is told what to do to all of them.
const ACT: &str = "Live-Act";
/// In which header it is told when a guest was invited, in milliseconds since 1970.
const GUEST: &str = "Live-Guest";
/// In which header its answer says what it has cost (`price.rs`).
const COST: &str = "Live-Cost";
/// What a page of a chapter may load, and what else browsers and robots should know
/// of live answers.
const HEADERS: [(&str, &str); 5] = [
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:; base-uri 'self'; \
         frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("X-Robots-Tag", "noindex"),
    ("Cache-Control", "no-store"),
];

#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/workers/runtime-apis/web-crypto/#methods>
    #[wasm_bindgen(catch, js_namespace = crypto, js_name = randomUUID)]
    fn uuid() -> std::result::Result<String, JsValue>;
}

#[event(fetch)]
async fn fetch(req: Request, env: Env, ctx: Context) -> Result<Response> {
    match respond(req, &env, &ctx).await {
        Ok(response) => Ok(response),
        Err(Failure::Refused(refusal)) => refusal.answer(),
        Err(Failure::Broken(error)) => {
            console_error!("{error}");
            Response::error("this went wrong here, and not with you\n", 500)
        }
    }
}

type Outcome = std::result::Result<Response, Failure>;

async fn respond(req: Request, env: &Env, ctx: &Context) -> Outcome {
    let pages = async |req| Ok(env.assets("ASSETS")?.fetch_request(req).await?);
    let url = req.inner().url();
    let route = Route::of(&url);
    if !matches!(route, None | Some(Route::Cover { .. })) {
        is_own(&req, env)?;
    }
    match route {
        None => pages(req).await,
        Some(Route::Cover { url }) => pages(at(&req, &url)?).await,
        Some(Route::Live { chapter, url }) => match env.service(&binding(&chapter))
        {
            Ok(worker) => live(req, &url, &worker, env, ctx).await,
            Err(_) => with_headers(pages(req).await?, &[("Live-Refused", "down")]),
        },
        Some(_) if req.method() != Method::Post => Err(Refusal::Method.into()),
        Some(Route::Visitor) => welcome(&req, &url, env).await,
        Some(Route::Act { act, chapter, query }) => {
            act_on(&req, act, &chapter, &query, env).await
        }
        Some(Route::Exercise { chapter }) => judge(&req, &chapter, env).await,
    }
}

/// Whether a request comes from a page of this book, or from none.
fn is_own(req: &Request, env: &Env) -> std::result::Result<(), Failure> {
    let header = |name| req.headers().get(name);
    let (host, origin) = (header("Host")?, header("Origin")?);
    let site = header("Sec-Fetch-Site")?;
    let headers = origin::Headers {
        host: host.as_deref(),
        origin: origin.as_deref(),
        sec_fetch_site: site.as_deref(),
    };
    let local = env.var(WITHOUT_COOKIE).is_ok();
    headers.are_own(local).map_err(|foreign| match foreign {
        Foreign::Host => Refusal::Host.into(),
        Foreign::Page => Refusal::Elsewhere.into(),
    })
}

/// A request to a chapter: whoever asks is known, has not asked too much, and gets
/// the chapter's own answer.
async fn live(
    req: Request,
    url: &str,
    worker: &Fetcher,
    env: &Env,
    ctx: &Context,
) -> Outcome {
    let asked = Asked::of(url).ok_or(Refusal::Header)?;
    let (visitor, host) = known(&req, asked.invitation.as_deref(), env)?;
    let bytes = body_length(&req)?;
    let upgrade = req.headers().get("Upgrade")?;
    let upgrades = upgrade.is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    let gate = gate_of(&req)?;
    let asks = if upgrades {
        Ask::Socket { visitor: visitor.clone() }
    } else {
        Ask::Request { visitor: visitor.clone(), bytes }
    };
    let lease = ask(env, &gate, &asks).await?;
    let to_chapter = whole(req, &asked.url).await?;
    let headers = to_chapter.headers();
    strip(headers)?;
    for (name, value) in &asked.headers {
        headers.set(name, value)?;
    }
    headers.set(VISITOR, host.as_ref().map_or(&visitor, |host| &host.id))?;
    if let Some(host) = host {
        headers.set(GUEST, &host.made.to_string())?;
    }
    let answer = match reach(worker, to_chapter).await {
        Ok(answer) => answer,
        Err(down) => {
            release(env, &gate, lease).await?;
            return Err(down);
        }
    };
    owe(env, &gate, &answer).await?;
    if answer.status_code() != 101 {
        release(env, &gate, lease).await?;
        return dressed(answer);
    }
    let protocol = answer.headers().get("Sec-WebSocket-Protocol")?;
    let chapter = answer.websocket().ok_or_else(|| Error::from("no socket"))?;
    if !upgrades {
        // The page has asked by its query, and cannot take a socket.
        chapter.accept()?;
        chapter.close(Some(1000), Some("only a look"))?;
        return Ok(Response::ok("101 Switching Protocols\n")?);
    }
    let WebSocketPair { client, server } = WebSocketPair::new()?;
    relay::take(&server, &chapter)?;
    let response = Response::from_websocket(client)?;
    if let Some(protocol) = protocol {
        response.headers().set("Sec-WebSocket-Protocol", &protocol)?;
    }
    let env = env.clone();
    ctx.wait_until(async move {
        let pay =
            async |cost| match gate::ask(&env, &gate, &Ask::Pay { cost }).await {
                Ok(Ok(_)) => None,
                Ok(Err(no)) => Some(no.what),
                Err(error) => Some(error.to_string()),
            };
        let kept = relay::relay(&server, &chapter, pay).await;
        if !kept.is_zero() {
            Delay::from(kept).await;
        }
        // A place that is not given back is free after some minutes.
        if let Err(error) = release(&env, &gate, lease).await {
            console_error!("{error}");
        }
    });
    Ok(response)
}

/// Makes a visitor of whoever asks, or knows them again, and gives them an
/// invitation for others.
async fn welcome(req: &Request, url: &str, env: &Env) -> Outcome {
    let signer = signer(env)?;
    let cookie = req.headers().get("Cookie")?;
    let now = Date::now().as_millis();
    let known = cookie.as_deref().and_then(from_cookies);
    let known =
        known.and_then(|token| signer.read(Purpose::Cookie, token, now).ok());
    let visitor = if let Some(token) = known {
        token.id
    } else {
        ask(env, &gate_of(req)?, &Ask::Visitor).await?;
        uuid().map_err(Error::from)?
    };
    let invitation = signer.token(Purpose::Invitation, &visitor, now);
    let body = format!("{{\"invite\":\"{invitation}\"}}\n");
    let response = Response::ok(body)?;
    let token = signer.token(Purpose::Cookie, &visitor, now);
    response.headers().set("Content-Type", "application/json")?;
    response.headers().set("Set-Cookie", &set_cookie(&token, url))?;
    dressed(response)
}

/// Does something to all objects that a visitor has in a chapter.
async fn act_on(
    req: &Request,
    act: Act,
    chapter: &str,
    query: &str,
    env: &Env,
) -> Outcome {
    let asked = Asked::of(query).ok_or(Refusal::Header)?;
    let (visitor, host) = known(req, asked.invitation.as_deref(), env)?;
    if host.is_some() {
        return Err(Refusal::Guest.into());
    }
    let gate = gate_of(req)?;
    let asks = Ask::Request { visitor: visitor.clone(), bytes: 0 };
    ask(env, &gate, &asks).await?;
    let worker = env.service(&binding(chapter)).map_err(|_| Refusal::Down)?;
    // No file is at this path, so that no asset answers.
    let url = format!("https://chapter/{}", act.word());
    let to_chapter = post(&url)?;
    to_chapter.headers().set(VISITOR, &visitor)?;
    to_chapter.headers().set(ACT, act.word())?;
    let answer = reach(&worker, to_chapter).await?;
    owe(env, &gate, &answer).await?;
    dressed(answer)
}

/// Asks a chapter's Worker.
async fn reach(worker: &Fetcher, req: Request) -> Outcome {
    let mut answer = match worker.fetch_request(req).await {
        Ok(answer) => answer,
        Err(error) => {
            console_error!("{error}");
            return Err(Refusal::Down.into());
        }
    };
    // So `wrangler dev` answers for a Worker that does not run.
    const ABSENT: &str = "Make sure it is running locally";
    if answer.status_code() == 503
        && answer.cloned()?.text().await?.contains(ABSENT)
    {
        return Err(Refusal::Down.into());
    }
    Ok(answer)
}

/// Has the tests of a chapter's exercises run, where `cargo xtask serve` can do it.
async fn judge(req: &Request, chapter: &str, env: &Env) -> Outcome {
    let judge = env.var("EXERCISES").map_err(|_| Refusal::NotHere)?.to_string();
    // No page of another site can set this header, for nobody here allows it to.
    if req.headers().get("Live")?.as_deref() != Some("page") {
        return Err(Refusal::NotThePage.into());
    }
    let req = post(&format!("{judge}/{chapter}"))?;
    dressed(Fetch::Request(req).send().await?)
}

/// The visitor who asks, and the one whose objects are meant if it is another.
fn known(
    req: &Request,
    invitation: Option<&str>,
    env: &Env,
) -> std::result::Result<(String, Option<Token>), Failure> {
    let signer = signer(env)?;
    let now = Date::now().as_millis();
    let cookies = req.headers().get("Cookie")?;
    let visitor = match cookies.as_deref().and_then(from_cookies) {
        Some(token) => {
            let token = signer.read(Purpose::Cookie, token, now);
            let token = token.map_err(|bad| match bad {
                Bad::Forged => Refusal::Cookie,
                Bad::Expired => Refusal::OldCookie,
            });
            token?.id
        }
        // On a machine of your own, a client without cookies is you.
        None => env.var(WITHOUT_COOKIE).map_err(|_| Refusal::Nobody)?.to_string(),
    };
    let host = invitation.map(|token| {
        signer.read(Purpose::Invitation, token, now).map_err(|bad| match bad {
            Bad::Forged => Refusal::Invitation,
            Bad::Expired => Refusal::OldInvitation,
        })
    });
    Ok((visitor, host.transpose()?))
}

fn signer(env: &Env) -> std::result::Result<Signer, Refusal> {
    let key = env.secret("VISITOR_KEY").map(|key| key.to_string());
    key.ok().as_deref().and_then(Signer::new).ok_or(Refusal::NoKey)
}

/// How long a body says it is. One that does not say it is not read at all.
fn body_length(req: &Request) -> std::result::Result<u64, Failure> {
    let length = req.headers().get("Content-Length")?;
    match length.and_then(|length| length.parse().ok()) {
        Some(length) if length > BODY_MAX => Err(Refusal::Size.into()),
        Some(length) => Ok(length),
        None if req.inner().body().is_some() => Err(Refusal::Length.into()),
        None => Ok(0),
    }
}

/// The request with all of its body, which has to come in time, at another address.
async fn whole(
    mut req: Request,
    url: &str,
) -> std::result::Result<Request, Failure> {
    if req.inner().body().is_none() {
        return Ok(at(&req, url)?);
    }
    let bytes = {
        let late = pin!(Delay::from(Duration::from_secs(BODY_SECONDS)));
        match select(pin!(req.bytes()), late).await {
            Either::Left((bytes, _)) => bytes?,
            Either::Right(_) => return Err(Refusal::Slow.into()),
        }
    };
    let init = web_sys::RequestInit::new();
    init.set_method(&req.inner().method());
    init.set_headers(&req.inner().headers());
    init.set_body(&Uint8Array::from(bytes.as_slice()));
    let request = web_sys::Request::new_with_str_and_init(url, &init);
    Ok(request.map_err(Error::from)?.into())
}

/// The gate of the address that a request comes from.
fn gate_of(req: &Request) -> Result<String> {
    let ip = req.headers().get("CF-Connecting-IP")?;
    Ok(address::gate(&ip.unwrap_or_default()))
}

/// Asks a gate, and takes its no for an answer.
async fn ask(
    env: &Env,
    gate: &str,
    ask: &Ask,
) -> std::result::Result<Option<u64>, Failure> {
    Ok(gate::ask(env, gate, ask).await?.map_err(Refusal::Limit)?)
}

/// Notes what an answer says that it has cost, if it is more than each may. If there is
/// no more money, it is the next request that hears of it.
async fn owe(env: &Env, gate: &str, answer: &Response) -> Result<()> {
    let cost = answer.headers().get(COST)?.and_then(|cost| cost.parse().ok());
    let cost = cost.unwrap_or(0u64).saturating_sub(INCLUDED);
    if cost > 0 {
        let _ = gate::ask(env, gate, &Ask::Owe { cost }).await?;
    }
    Ok(())
}

/// Gives the place of a socket back.
async fn release(env: &Env, gate: &str, lease: Option<u64>) -> Result<()> {
    if let Some(number) = lease {
        let _ = gate::ask(env, gate, &Ask::Closed { number }).await?;
    }
    Ok(())
}

/// Takes away what is between the visitor and us.
fn strip(headers: &Headers) -> Result<()> {
    headers.delete("Cookie")?;
    let names: Vec<String> = headers.keys().collect();
    for name in names.iter().filter(|name| name.starts_with("live")) {
        headers.delete(name)?;
    }
    Ok(())
}

/// An answer with the headers of all live answers.
fn dressed(answer: Response) -> Outcome {
    with_headers(answer, &HEADERS)
}

/// An answer with more headers. Those of an answer that was fetched cannot be changed.
fn with_headers(answer: Response, more: &[(&str, &str)]) -> Outcome {
    let headers = Headers::from_iter(answer.headers().entries());
    headers.delete(COST)?;
    for (name, value) in more {
        headers.set(name, value)?;
    }
    Ok(answer.with_headers(headers))
}

fn post(url: &str) -> Result<Request> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post);
    Request::new_with_init(url, &init)
}

/// The same request at another address: method, headers, body, `cf` and an
/// `Upgrade` come along.
///
/// In JavaScript this is `new Request(url, request)`, where the old request serves
/// as the options.
fn at(req: &Request, url: &str) -> Result<Request> {
    let options: &web_sys::RequestInit = req.inner().unchecked_ref();
    let request = web_sys::Request::new_with_str_and_init(url, options)
        .map_err(Error::from)?;
    Ok(request.into())
}
