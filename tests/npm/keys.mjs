// Makes the signing keys of the test IdP, once, so that a restarted IdP can go on with the same keys.
//
//   node keys.mjs FILE [GENERATIONS]
//
// FILE becomes {"generations": [{"private": [JWK...], "pem": "SPKI of the RSA key"}...], "published": [0]}.
// A generation holds one key each for RS256, ES256 and EdDSA. `published` is the part that idp.mjs keeps up:
// the generations in its key set, the signing one first.
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const [file, count = '3'] = process.argv.slice(2);
if (!file) {
  console.error('usage: node keys.mjs FILE [GENERATIONS]');
  process.exit(2);
}

const KINDS = [
  ['RS256', 'rsa', { modulusLength: 2048 }],
  ['ES256', 'ec', { namedCurve: 'P-256' }],
  ['EdDSA', 'ed25519', {}],
];

function generation(number) {
  const made = { private: [], pem: '' };
  for (const [alg, type, options] of KINDS) {
    const { privateKey, publicKey } = generateKeyPairSync(type, options);
    made.private.push({
      ...privateKey.export({ format: 'jwk' }),
      kid: `${alg.toLowerCase()}-${number}`,
      alg,
      use: 'sig',
    });
    // For the tests that misuse the public key's text as an HMAC secret.
    if (alg === 'RS256') made.pem = publicKey.export({ format: 'pem', type: 'spki' });
  }
  return made;
}

const generations = Array.from({ length: Number(count) }, (_, number) => generation(number));
writeFileSync(file, JSON.stringify({ generations, published: [0] }), { mode: 0o600 });
