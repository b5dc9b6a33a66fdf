//! One client of exec or attach, from the WebSocket to the two queues between it and a container.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::channel::{FromClient, ToClient};

/// How long a client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Carries messages both ways until the container's side has ended or the client is gone.
///
/// When the client is gone, `input` closes, which the container's side takes as its reason to stop.
pub async fn run<S>(mut socket: WebSocketStream<S>, input: Sender<FromClient>, mut output: Receiver<ToClient>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if socket.send(Message::binary(ToClient::opened())).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = socket.next() => {
                if !pass_on(message, &input).await {
                    return;
                }
            }
            message = output.recv() => {
                let Some(message) = message else { break };
                let last = matches!(message, ToClient::Ended(_));
                if socket.send(Message::binary(message.encode())).await.is_err() {
                    return;
                }
                if last {
                    break;
                }
            }
        }
    }
    // The client answers the goodbye, or it does not; either way this is over.
    let goodbye = async {
        let normal = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = socket.close(Some(normal)).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

/// Hands a client's message to the container's side; false when the client is gone.
async fn pass_on(message: Option<Result<Message, Error>>, input: &Sender<FromClient>) -> bool {
    let bytes = match message {
        Some(Ok(Message::Binary(bytes))) => bytes,
        Some(Ok(Message::Text(text))) => text.into(),
        Some(Ok(Message::Close(_)) | Err(_)) | None => return false,
        Some(Ok(_)) => return true,
    };
    if let Some(message) = FromClient::parse(&bytes) {
        // A container's side that listens no more is about to say how it ended.
        let _ = input.send(message).await;
    }
    true
}
