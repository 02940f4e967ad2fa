// The socket to the viewer: acknowledges every batch, so that the newest only come, and connects again by itself.

const RETRY_MS = 1000;

/** Calls take(message) for each message, and lost(true or false) as the viewer goes and comes. */
export function connect(take, lost) {
  const socket = new WebSocket(`ws${location.protocol.slice(4)}//${location.host}/live`);
  socket.onopen = () => lost(false);
  socket.onmessage = (event) => {
    for (const message of JSON.parse(event.data).messages) take(message);
    socket.send("ack");
  };
  socket.onclose = () => {
    lost(true);
    setTimeout(() => connect(take, lost), RETRY_MS);
  };
}
