// A dialog over the page that takes the focus, and gives it back.
import { useEffect } from '../vendor/hooks.js';

/**
 * Show a dialog over the page as long as the component is shown.
 *
 * A browser gives the focus back when a dialog is closed, but not when it is taken out of the page
 * while it is open, which is how components end: Preact takes their elements away first.
 * @param {{current: HTMLDialogElement}} dialog
 */
export function useModal(dialog) {
  useEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    shown.showModal();
    return () => {
      shown.close();
      if (document.activeElement === document.body) before?.focus({ preventScroll: true });
    };
  }, []);
}
