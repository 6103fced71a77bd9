//! Answers HTTP requests by `wasi:http` 0.3: an asynchronous handler, whose body is written after its head is on the way.

wit_bindgen::generate!({
    // What Limes keeps of WASI 0.3; in a project of your own, a folder `wit` with the same files.
    path: "../../wit/wasi-0.3",
    world: "http",
    generate_all,
});

use exports::wasi::http::handler::Guest;
use wasi::http::types::{ErrorCode, Fields, Request, Response};

struct Handler;

impl Guest for Handler {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let headers = Fields::from_list(&[("content-type".into(), b"text/plain".to_vec())])
            .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
        let (mut body, contents) = wit_stream::new();
        let (trailers, end) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), end);
        wit_bindgen::spawn_local(async move {
            body.write_all(format!("Hello from WASI 0.3! You asked for {path}\n").into_bytes()).await;
            drop(body);
            // Fails when the client has left: then there is nobody to tell.
            let _ = trailers.write(Ok(None)).await;
        });
        Ok(response)
    }
}

export!(Handler);
