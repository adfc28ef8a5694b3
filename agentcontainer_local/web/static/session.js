// Who is signed in: the API key, in this tab only, or on this device if that was asked for. It is never in a URL.

const NAME = "agentcontainer.key";

export const key = () => sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME);

export function begin(value, keep) {
  end();
  (keep ? localStorage : sessionStorage).setItem(NAME, value);
}

export function end() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}
