import { connect, isIP, type OnReadOpts, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { WireFault } from "./fault.ts";
import type { Head } from "./head.ts";
import { inTime, type Patience } from "./patience.ts";
import type { ProxyServer } from "./proxy.ts";
import { Reply } from "./reply.ts";
import { headOf } from "./request.ts";
import { Scratch } from "./scratch.ts";

/** A SYN may be lost once; after that, another address is the better bet. */
const CONNECT_MS = 2_500;

/** Where connections lead. */
export interface Route {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  readonly proxy: ProxyServer | null;
  /** Certificate authorities to trust instead of the usual ones. */
  readonly ca: string | undefined;
  /** Makes the next handshake with the host cheap. */
  session: Buffer | undefined;
}

/**
 * Connects to an address of the route's first hop, if need be through a proxy's tunnel, and shakes hands. The socket reads
 * by `onread`, except through a tunnel, where Node gives its bytes as "data" only.
 * @throws WireFault, the socket's error, the signal's reason.
 */
export async function dial(
  route: Route,
  address: string,
  onread: OnReadOpts,
  stallMs: number,
  signal: AbortSignal,
): Promise<Socket> {
  const { host, port, proxy, secure } = route;
  const tunnel = secure && proxy;
  const patience = { signal, ms: stallMs };
  const socket = connectTo(route, address, tunnel ? {} : { onread });
  socket.setNoDelay(true);
  await first<void>(socket, { signal, ms: Math.min(CONNECT_MS, stallMs) }, (done) => socket.once("connect", done));
  if (proxy?.secure ?? secure) await first<void>(socket, patience, (done) => socket.once("secureConnect", done));
  if (!tunnel) return socket;
  await openTunnel(socket, isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`, proxy, patience);
  const through = connectTls({ socket, host, ...securityOf(host, route, true) });
  await first<void>(through, patience, (done) => through.once("secureConnect", done));
  return keepSession(through, route);
}

function connectTo(route: Route, address: string, reading: { onread?: OnReadOpts }): Socket {
  const hop = route.proxy ?? route;
  const target = { host: address, port: hop.port, ...reading };
  if (!hop.secure) return connect(target);
  const socket = connectTls({ ...target, ...securityOf(hop.host, route, hop === route) });
  return hop === route ? keepSession(socket, route) : socket;
}

/** The certificate must be for this name, or for the address if the host is one. */
function securityOf(host: string, { ca, session }: Route, own: boolean): ConnectionOptions {
  return {
    ALPNProtocols: ["http/1.1"],
    ...(isIP(host) === 0 && { servername: host }),
    ...(ca !== undefined && { ca }),
    ...(own && session && { session }),
  };
}

function keepSession(socket: TLSSocket, route: Route): TLSSocket {
  return socket.on("session", (session) => {
    route.session = session;
  });
}

/** Asks a proxy for a connection to a host. */
async function openTunnel(socket: Socket, target: string, proxy: ProxyServer, patience: Patience): Promise<void> {
  const headers = { host: target, ...proxy.headers };
  const request = headOf({ method: "CONNECT", target, headers, body: undefined, expect: false });
  const { status } = await first<Head>(socket, patience, (onHead, onFault) => {
    const nothing = (): void => {};
    const events = { onHead, onFault, onContinue: nothing, onEnd: nothing, onReader: nothing };
    const reply = new Reply("CONNECT", new Scratch(), events);
    socket.on("data", (chunk) => reply.feed(chunk));
    socket.write(request);
  });
  socket.removeAllListeners("data");
  if (status < 300) return;
  socket.destroy();
  throw new WireFault("PROXY_REFUSED", `The proxy answered ${status}.`);
}

/** Waits for one thing to happen to a socket. If anything else ends the wait, it ends the socket. */
async function first<T>(
  socket: Socket,
  patience: Patience,
  arm: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  const happened = new Promise<T>((resolve, reject) => {
    socket.on("error", reject); // stays, so that a late error is heard
    socket.once("close", () => reject(new WireFault("CUT_SHORT", "The connection ended before it began.")));
    arm(resolve, reject);
  });
  try {
    return await inTime(happened, patience);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}
