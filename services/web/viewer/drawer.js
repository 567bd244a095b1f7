// Which of OpenSeadragon's drawers to use. Without a graphics processor its WebGL drawer takes five
// to eight times as long a frame as the plain canvas: 132 ms against 16.6 ms were measured.

const SOFTWARE = /swiftshader|llvmpipe|basic render|software/i;

/** Return whether slides have to be drawn without WebGL. */
export function needsCanvas() {
  const context = document.createElement("canvas").getContext("webgl2");
  if (context === null) {
    return true;
  }
  const names = context.getExtension("WEBGL_debug_renderer_info");
  const renderer = names === null ? "" : context.getParameter(names.UNMASKED_RENDERER_WEBGL);
  context.getExtension("WEBGL_lose_context")?.loseContext();
  return SOFTWARE.test(String(renderer));
}
