// JupyterLab loads this as a federated extension: an object with `init` and `get`.  Written by
// hand, so that there is nothing to build.
(() => {
  const SOON = 2000, SELDOM = 60000; // ms; the browser itself retries a stream that broke off
  const SILENCE = 60000; // ms; the hub repeats itself every 20 s, and the proxy hides that it is gone

  function url(config) {
    const user = encodeURIComponent(config.hubUser);
    const server = config.hubServerName;
    const named = server ? `/servers/${encodeURIComponent(server)}` : "";
    return `${config.hubPrefix.replace(/\/$/, "")}/api/roost/v1/servers/${user}${named}/events`;
  }

  const said = new Set();
  let pause = SOON;

  function listen(app, config) {
    const stream = new EventSource(url(config));
    let silence;
    const again = (after) => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        stream.close();
        listen(app, config);
      }, after);
    };
    again(SILENCE);
    stream.onmessage = (event) => {
      const status = JSON.parse(event.data);
      pause = SOON;
      again(SILENCE);
      for (const notice of status.notices) {
        if (said.has(notice.message)) continue;
        said.add(notice.message);
        app.commands.execute("apputils:notify", {
          message: notice.message,
          type: notice.level === "warning" ? "warning" : "info",
          options: { autoClose: false },
        });
        if (status.state === "evicting" && app.commands.hasCommand("docmanager:save-all")) {
          app.commands.execute("docmanager:save-all");
        }
      }
      if (status.over) {
        clearTimeout(silence);
        stream.close();
      }
    };
    stream.onerror = () => {
      // Closed for good: the hub is just starting, or refuses.  Ask again, more and more seldom.
      if (stream.readyState !== EventSource.CLOSED) return;
      again(pause);
      pause = Math.min(2 * pause, SELDOM);
    };
  }

  const plugin = {
    id: "roost-notices:plugin",
    autoStart: true,
    activate: (app) => {
      const page = document.getElementById("jupyter-config-data");
      const config = page ? JSON.parse(page.textContent) : {};
      if (config.hubPrefix && config.hubUser) app.started.then(() => listen(app, config));
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["roost-notices"] = {
    init: () => {},
    get: () => Promise.resolve(() => ({ __esModule: true, default: plugin })),
  };
})();
