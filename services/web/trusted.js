// The only texts that may become markup or the address of a script on this page (Trusted Types).
//
// OpenSeadragon empties elements by `innerHTML = ""`, so the empty text may become markup. The
// worker that draws findings is the one script whose address comes from a script.
{
  const worker = new URL('viewer/findings/findings_worker.js', document.currentScript.src).href;
  if (self.trustedTypes) {
    self.trustedTypes.createPolicy('default', {
      createHTML(text) {
        if (text !== '') throw new TypeError('no markup is made from texts here');
        return text;
      },
      createScriptURL(address) {
        if (new URL(address, document.baseURI).href !== worker) {
          throw new TypeError('no such script may be started here');
        }
        return address;
      },
    });
  }
}
