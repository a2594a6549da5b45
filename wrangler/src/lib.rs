//! The front door of the published book.
//!
//! The runtime serves the pages by itself. Two kinds of requests come here: `/`,
//! which has no file name, and `/live/chNN/*`, which goes to the Worker of that
//! chapter. Everything else is the book's own 404 page.
#![deny(clippy::await_holding_refcell_ref)]

mod route;

use route::Route;
use worker::wasm_bindgen::JsCast;
use worker::{
    Context, Env, Error, Request, Response, Result, console_error, event, web_sys,
};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let url = req.inner().url();
    match Route::of(&url) {
        Some(Route::Cover { url }) => {
            env.assets("ASSETS")?.fetch_request(at(&req, &url)?).await
        }
        Some(Route::Live { binding, url }) => match env.service(&binding) {
            Ok(chapter) => match chapter.fetch_request(at(&req, &url)?).await {
                Ok(response) => Ok(response),
                Err(error) => {
                    console_error!("{binding}: {error}");
                    Response::error(
                        "this chapter does not run just now; the pages do\n",
                        503,
                    )
                }
            },
            Err(_) => env.assets("ASSETS")?.fetch_request(req).await,
        },
        None => env.assets("ASSETS")?.fetch_request(req).await,
    }
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
