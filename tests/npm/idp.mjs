// A real identity provider for the end-to-end tests: oidc-provider on a loopback port, with a control port beside it.
//
//   node idp.mjs --keys FILE --port PORT --control PORT
//
// FILE comes from keys.mjs. Its `published` list is kept up on every rotation, so a process that is killed and
// started again on the same port goes on with the same keys. One line of JSON on stdout says that it is ready.
//
// Tokens: POST /token, grant_type=client_credentials, one of CLIENTS, and a resource:
//
//   urn:orders-api[:alg=RS256|ES256|EdDSA][:ttl=SECONDS][:format=jwt|opaque]     audience "orders-api"
//   urn:billing-api[...]                                     audience "billing-api"
//
// Opaque ones are answered about at /token/introspection, and ended at /token/revocation, for any of CLIENTS.
//
// Logout: POST /logout of the control port has the provider mint a logout token for a client and post it to `uri`, as it does
// when a session ends (OpenID Connect Back-Channel Logout 1.0). With `sid` the client demands sessions, without it has none.
// The answer tells the token and what `uri` said; with `keep` the token is made and not posted.
//
// Control: GET /counters; POST /logout {"client", "sub", "sid", "uri", "keep"}; POST /rotate {"keep_old": bool}; POST /retire; POST /fail {"mode": ...}.
import { createServer } from 'node:http';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import Provider from 'oidc-provider';

const CLIENTS = ['alice', 'bob', 'carol'];
const SCOPE = 'orders:read orders:write admin';
const MODES = ['none', 'error', 'hang', 'reset'];
const MAX_CONTROL_BODY = 4096;

const { values: options } = parseArgs({
  options: { keys: { type: 'string' }, port: { type: 'string' }, control: { type: 'string' } },
});
for (const name of ['keys', 'port', 'control']) {
  if (!options[name]) {
    console.error(`idp.mjs: --${name} is missing`);
    process.exit(2);
  }
}
const issuer = `http://127.0.0.1:${options.port}`;

const state = JSON.parse(readFileSync(options.keys, 'utf8'));
const counters = { jwks: 0, discovery: 0, token: 0, introspection: 0, other: 0 };
let failure = 'none';
let made;
// What the provider posts, and what it was told: its own guard refuses private addresses, and this is a loopback test.
let posted;
let handler = provider();

// The keystore signs with the first key that fits, so the order of `published` decides.
function provider() {
  made = new Provider(issuer, {
    fetch: post,
    clients: CLIENTS.map((name) => ({
      client_id: name,
      client_secret: `${name}-test-secret`,
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      scope: SCOPE,
    })),
    scopes: SCOPE.split(' '),
    jwks: { keys: state.published.flatMap((number) => state.generations[number].private) },
    cookies: { keys: ['loopback test only'] },
    extraTokenClaims: (_ctx, token) => ({
      sid: `session-of-${token.clientId}`,
      email: `${token.clientId}@example.test`,
      email_verified: true,
    }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, indicator) => resourceServer(indicator),
      },
    },
  });
  return made.callback();
}

function resourceServer(indicator) {
  const [urn, audience, ...settings] = indicator.split(':');
  if (urn !== 'urn' || !['orders-api', 'billing-api'].includes(audience)) {
    throw new Error(`unknown resource ${indicator}`);
  }
  const chosen = Object.fromEntries(settings.map((setting) => setting.split('=')));
  return {
    scope: SCOPE,
    audience,
    accessTokenFormat: chosen.format ?? 'jwt',
    accessTokenTTL: Number(chosen.ttl ?? 600),
    ...(chosen.format !== 'opaque' && { jwt: { sign: { alg: chosen.alg ?? 'RS256' } } }),
  };
}

// Takes the place of the provider's `fetch`, without its dispatcher.
async function post(url, { method, headers, body, redirect, signal }) {
  const token = new URLSearchParams(body).get('logout_token');
  posted = { token };
  if (url.startsWith('keep:')) return new Response(null, { status: 200 });
  const answer = await fetch(url, { method, headers, body, redirect, signal });
  posted = { token, status: answer.status, retry_after: answer.headers.get('retry-after'), body: await answer.text() };
  return new Response(null, { status: answer.status });
}

async function logOut({ client: name, sub, sid, uri, keep }) {
  const client = await made.Client.find(name);
  client.backchannelLogoutUri = keep ? 'keep:it' : uri;
  client.backchannelLogoutSessionRequired = sid !== undefined;
  let error = null;
  await client.backchannelLogout(sub, sid).catch((refused) => { error = refused.message; });
  return { ...posted, error };
}

// Written beside and renamed, so that a kill at any instant leaves a whole file.
function publish(published) {
  state.published = published;
  writeFileSync(`${options.keys}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${options.keys}.new`, options.keys);
  handler = provider();
}

function count(path) {
  if (path === '/jwks') counters.jwks += 1;
  else if (path.startsWith('/.well-known/')) counters.discovery += 1;
  else if (path === '/token') counters.token += 1;
  else if (path === '/token/introspection') counters.introspection += 1;
  else counters.other += 1;
}

const idp = createServer((request, response) => {
  count(request.url.split('?')[0]);
  if (failure === 'error') response.writeHead(500).end();
  else if (failure === 'reset') request.socket.resetAndDestroy();
  else if (failure !== 'hang') handler(request, response);
});

const actions = {
  'GET /counters': () => counters,
  'POST /rotate': ({ keep_old: keepOld = false }) => {
    const [current] = state.published;
    const next = current + 1;
    if (next >= state.generations.length) throw new Error('no key generation left: make more with keys.mjs');
    publish(keepOld ? [next, current] : [next]);
    return { published: state.published };
  },
  'POST /logout': logOut,
  'POST /retire': () => {
    publish(state.published.slice(0, 1));
    return { published: state.published };
  },
  'POST /fail': ({ mode }) => {
    if (!MODES.includes(mode)) throw new Error(`mode must be one of ${MODES.join(', ')}`);
    failure = mode;
    return { mode };
  },
};

const control = createServer(async (request, response) => {
  try {
    let body = '';
    for await (const chunk of request) {
      body += chunk;
      if (body.length > MAX_CONTROL_BODY) throw new Error('body too large');
    }
    const action = actions[`${request.method} ${request.url}`];
    if (!action) throw new Error(`no such action: ${request.method} ${request.url}`);
    const answer = JSON.stringify(await action(body ? JSON.parse(body) : {}));
    response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
  } catch (error) {
    response.writeHead(400, { 'content-type': 'text/plain' }).end(String(error.message));
  }
});

const listen = (server, port) => new Promise((resolve, reject) => {
  server.once('error', reject).listen(Number(port), '127.0.0.1', resolve);
});
await listen(idp, options.port);
await listen(control, options.control);
console.log(JSON.stringify({ ready: true, issuer, control: `http://127.0.0.1:${options.control}` }));
