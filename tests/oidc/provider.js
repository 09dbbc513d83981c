// A real OpenID provider for the tests: whatever name is typed is signed in; its groups are what stands in GROUPS.
// Usage: node provider.js PORT REDIRECT_URL CLIENT_SECRET; GROUPS is JSON, a list of groups by name.
import { Provider } from 'oidc-provider';

const [port, redirectUrl, clientSecret] = process.argv.slice(2);
const groups = JSON.parse(process.env.GROUPS);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: 'collegium',
      client_secret: clientSecret,
      redirect_uris: [redirectUrl],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
  ],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  // Groups go into the ID token itself.
  conformIdTokenClaims: false,
  cookies: { keys: ['only for tests'] },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: groups[id] ?? [] }),
  }),
  pkce: { required: () => true },
});

provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
